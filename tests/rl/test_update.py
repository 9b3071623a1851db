"""A whole update on a tiny model: to a verdict, cut off and resumed, refused, and with nothing to do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

import rl.update
import rl.workspace
from lm.adapters import adapter_hash, read_adapter
from lm.lengths import LEAST, longest_answer
from lm.loading import Base
from problems import Problem
from rl.replay import load_replay
from rl.settings import Algorithm, AlgorithmSettings, StoppingSettings
from rl.update import run_update
from rl.workspace import Knobs
from store.database import Store, open_store
from store.ratings import rate
from store.schema import Generation
from store.updates import list_updates, unfinished, update_lock
from store.versions import ensure_base, list_versions, serving

from .conftest import LONG, SHORT


def test_an_update_ends_in_a_verdict_that_the_store_remembers(store: Store, tiny_base: Base, knobs: Knobs) -> None:
    report = run_update(store, tiny_base, knobs)
    names = [check.name for check in report.checks]
    assert names[:3] == ["trained", "adapter_finite", "adapter_changed"]
    assert {"reward_model", "reward_win_rate", "skill:echo", "length_growth", "kl"} <= set(names)
    assert report.verdict == ("promoted" if all(check.passed for check in report.checks) else "rejected")
    train = store.home / "updates/1/train"
    assert (train / "curves.png").is_file()
    assert not (train / "stopping").exists()
    curve = (train / "curve.jsonl").read_text().splitlines()
    assert sum("stopping/kl" in json.loads(line) for line in curve) == 2
    scores = [row for row in map(json.loads, curve) if "ppo/score" in row]
    assert scores
    for row in scores:  # what moved the reward is told apart
        assert row["reward/rule/length"] <= 0
        assert row["reward/heads"] + row["reward/rule/length"] == pytest.approx(row["ppo/score"], abs=1e-4)
    with store.session() as session:
        _, version = list_versions(session)
        assert version.id == report.version
        assert version.dataset_hash == report.dataset
        assert serving(session).id == (version.id if report.verdict == "promoted" else 0)
        folder = store.home / version.adapter
        assert version.adapter_hash == adapter_hash(folder)
        (row,) = list_updates(session)
        assert row.verdict == report.verdict
        assert [step["step"] for step in row.steps] == ["dataset", "reward", "anchor", "train", "gate", "version"]
    read_adapter(folder, tiny_base)
    assert (folder / "anchor.safetensors").is_file()
    assert len(load_replay(store.home / "updates/1/anchor/replay.safetensors").sequences) == knobs.anchor.samples
    assert not (folder / "replay.safetensors").exists(), "people's words are not part of what serves"


def test_lengths_come_from_what_was_rated(store: Store, tiny_base: Base, knobs: Knobs) -> None:
    left_open = replace(knobs, ppo=replace(knobs.ppo, max_tokens=0, updates=1))
    report = run_update(store, tiny_base, left_open)
    dataset, anchor, gate = (
        json.loads((store.home / f"updates/1/{step}/step.json").read_text()) for step in ("dataset", "anchor", "gate")
    )
    longest = max(len(tiny_base.tokenizer(text)["input_ids"]) + 1 for text in (SHORT, LONG))
    assert dataset["answer_tokens"] == longest_answer(tiny_base.context, [longest])
    assert LEAST <= dataset["answer_tokens"] < tiny_base.context / 2
    assert all(0 <= share <= 1 for share in anchor["ending"])
    assert 0 < len(anchor["ending"]) <= dataset["prompts"]
    assert gate["comparison"]["candidate_length"] <= dataset["answer_tokens"]
    assert report.version is not None


def test_a_candidate_that_passes_serves_and_the_next_one_starts_from_it(
    store: Store, tiny_base: Base, knobs: Knobs
) -> None:
    lenient = replace(
        knobs,
        gate=replace(
            knobs.gate, min_reward_accuracy=-1.0, min_win_rate=-1.0, max_length=1e9, min_length=0.0, max_kl=1e9
        ),
    )
    first = run_update(store, tiny_base, lenient)
    assert first.verdict == "promoted", [check for check in first.checks if not check.passed]
    with store.session() as session:
        assert serving(session).id == first.version
    replayed_alone = replace(lenient, anchor=replace(lenient.anchor, strength=0.0))
    second = run_update(store, tiny_base, replayed_alone, force=True)
    with store.session() as session:
        version = list_versions(session)[-1]
        assert version.parent_id == first.version
    assert second.version == 2
    assert {file.name for file in (store.home / version.adapter).glob("*.safetensors")} == {
        "adapter_model.safetensors",
    }


def correct(store: Store) -> None:
    """Somebody writes what each long answer should have been."""
    with store.session() as session:
        for answer in session.scalars(select(Generation).where(Generation.text.startswith("Please"))).all():
            said = {"generation_id": answer.id, "person_id": answer.person_id, "surface": "api"}
            rate(session, kind="correction", value="It arrives on Thursday.", **said)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "dpo", "kto", "sft"])
def test_any_algorithm_makes_a_version_that_the_gate_judges(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm
) -> None:
    correct(store)
    chosen = replace(
        knobs,
        stopping=StoppingSettings(every=0),
        update=replace(knobs.update, algorithm=algorithm),
        algorithms=AlgorithmSettings(group=4, epochs=1, batch=8, learning_rate=1e-3),
    )
    with monkeypatch.context() as patch:
        patch.setattr("rl.workspace.train_policy", broken)
        with pytest.raises(ConnectionError):
            run_update(store, tiny_base, chosen)
    said: list[str] = []
    report = run_update(store, tiny_base, knobs, progress=lambda label, done, total: said.append(label))
    passed = {check.name: check.passed for check in report.checks}
    assert passed["trained"]
    assert passed["adapter_changed"]
    assert "kl" in passed
    assert any(label.startswith(algorithm.upper()) for label in said)  # what it began with stays in force
    with store.session() as session:
        (row,) = list_updates(session)
        assert row.algorithm == algorithm
    curve = (store.home / "updates/1/train/curve.jsonl").read_text("utf-8").splitlines()
    assert sum("loss" in json.loads(line) for line in curve) >= 2


def test_an_algorithm_without_evidence_says_so_before_anything_is_begun(
    store: Store, tiny_base: Base, knobs: Knobs
) -> None:
    with pytest.raises(Problem, match="answers that people corrected") as missing:
        run_update(store, tiny_base, replace(knobs, update=replace(knobs.update, algorithm="sft")))
    assert missing.value.status == 3
    with store.session() as session:
        assert list_updates(session) == []


def test_a_step_that_fails_is_resumed_and_ends_as_if_it_had_not(
    store: Store, tiny_base: Base, knobs: Knobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(store.home, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr("rl.update.comparison_checks", broken)
        with pytest.raises(ConnectionError):
            run_update(store, tiny_base, knobs)
    with store.session() as session:
        assert unfinished(session) is not None
    trained = (store.home / "updates/1/train/step.json").stat().st_mtime_ns
    resumed = run_update(store, tiny_base, knobs)
    assert (store.home / "updates/1/train/step.json").stat().st_mtime_ns == trained
    whole = open_store(tmp_path / "copy")
    expected = run_update(whole, tiny_base, knobs)
    whole.close()
    assert (resumed.dataset, resumed.verdict) == (expected.dataset, expected.verdict)
    assert resumed.checks == expected.checks


def broken(*_: object, **__: object) -> None:
    raise ConnectionError("pulled the plug")


KILLED = """
import json, sys
from pathlib import Path
from lm.loading import load_base
from rl.update import run_update
from rl.workspace import Knobs
from store.database import open_store
home, model, knobs = sys.argv[1:]
run_update(open_store(Path(home)), load_base(model, "cpu", "float32"), Knobs.from_json(json.loads(knobs)))
"""


@pytest.mark.timeout(300)
def test_killed_in_training_it_goes_on_at_the_last_checkpoint(
    store: Store, tiny_base: Base, tiny_folder: Path, knobs: Knobs
) -> None:
    long = replace(knobs, ppo=replace(knobs.ppo, updates=24))
    arguments = [str(store.home), str(tiny_folder), json.dumps(asdict(long))]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    work = store.home / "updates/1/train.tmp"
    deadline = time.monotonic() + 240
    while not list(work.glob("checkpoint-*/ppo.json")):
        assert process.poll() is None, "the update ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = run_update(store, tiny_base, knobs)  # the settings that it began with stay in force
    steps = next(check for check in report.checks if check.name == "trained")
    assert steps.figure == 24 * 2
    rows = [json.loads(line)["step"] for line in (store.home / "updates/1/train/curve.jsonl").read_text().splitlines()]
    assert rows == sorted(rows)
    assert rows.count(rows[len(rows) // 2]) == 1
    assert (rows[0], rows[-1]) == (2, 24 * 2)


def test_the_gate_asks_what_no_check_of_the_training_has_asked(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[str]] = {}

    def noted(module: ModuleType, name: str, place: int) -> None:
        made = getattr(module, name)

        def note(*given: Any, **named: Any) -> Any:
            asked[name] = [str(prompt) for prompt in given[place]]
            return made(*given, **named)

        monkeypatch.setattr(module, name, note)

    noted(rl.workspace, "Validation", 3)
    noted(rl.update, "compare", 4)
    run_update(store, tiny_base, knobs)
    assert asked["Validation"]
    assert asked["compare"]
    assert not set(asked["Validation"]) & set(asked["compare"])


def test_settings_of_an_older_edition_are_read_with_the_defaults_of_what_came_since(knobs: Knobs) -> None:
    row = asdict(knobs)
    assert Knobs.from_json(row) == knobs
    del row["stopping"]
    assert Knobs.from_json(row) == replace(knobs, stopping=StoppingSettings())


def test_nothing_to_do_is_said_and_leaves_no_update(
    store: Store, tiny_base: Base, knobs: Knobs, tmp_path: Path
) -> None:
    picky = replace(knobs, update=replace(knobs.update, min_ratings=1000))
    report = run_update(store, tiny_base, picky)
    assert (report.verdict, report.update) == ("nothing", None)
    assert "fewer than the 1000" in report.why
    empty = open_store(tmp_path / "empty")
    with empty.session() as session:
        ensure_base(session, tiny_base.id, tiny_base.fingerprint)
    assert run_update(empty, tiny_base, knobs, force=True).why == "there are no ratings"
    with empty.session() as session:
        assert list_updates(session) == []
    empty.close()


def test_the_same_opinions_are_not_trained_on_twice_unless_forced(store: Store, tiny_base: Base, knobs: Knobs) -> None:
    first = run_update(store, tiny_base, knobs)
    again = run_update(store, tiny_base, knobs)
    assert again.verdict == "nothing"
    assert again.dataset == first.dataset


def test_two_updates_do_not_run_at_once(store: Store, tiny_base: Base, knobs: Knobs) -> None:
    with update_lock(store), pytest.raises(Problem, match="running already"):
        run_update(store, tiny_base, knobs)
