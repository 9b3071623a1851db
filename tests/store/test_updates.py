from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from problems import Problem
from store.database import Store
from store.updates import (
    discard_update,
    finish_update,
    last_dataset,
    list_updates,
    record_step,
    start_update,
    unfinished,
    update_lock,
)

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from store.database import open_store
from store.updates import update_lock
with update_lock(open_store(Path(sys.argv[1]), sys.argv[2] or None)):
    print("held", flush=True)
    time.sleep(60)
"""


def start(store: Store) -> int:
    with store.session() as session:
        return start_update(session, algorithm="ppo", seed=2**40, settings={"rounds": 3}).id


def test_a_figure_that_is_unknown_can_be_recorded(store: Store) -> None:
    update = start(store)
    with store.session() as session:
        record_step(session, update, "reward", "done", {"accuracy": math.nan, "bins": [{"high": math.inf}], "n": 0})
    with store.session(reading=True) as session:
        found = unfinished(session)
        assert found is not None
        detail = found.steps[0]["detail"]
    assert detail["n"] == 0
    assert detail["accuracy"] is None or math.isnan(detail["accuracy"])


def test_steps_keep_their_place_when_recorded_again(store: Store) -> None:
    update = start(store)
    for step, status in (("freeze", "running"), ("reward", "running"), ("freeze", "done"), ("reward", "failed")):
        with store.session() as session:
            record_step(session, update, step, status, {"rows": 3})
    with store.session(reading=True) as session:
        found = unfinished(session)
    assert found is not None
    assert (found.id, found.seed, found.settings) == (update, 2**40, {"rounds": 3})
    assert [(each["step"], each["status"], each["detail"]) for each in found.steps] == [
        ("freeze", "done", {"rows": 3}),
        ("reward", "failed", {"rows": 3}),
    ]


def test_an_update_ends_once_and_another_begins_after_it(store: Store) -> None:
    update = start(store)
    with pytest.raises(Problem, match="unfinished"):
        start(store)
    with store.session() as session:
        finish_update(session, update, "rejected", None, {"checks": [{"name": "better", "passed": False}]})
    with store.session(reading=True) as session:
        assert unfinished(session) is None
        done = list_updates(session)[0]
    assert (done.verdict, done.report) == ("rejected", {"checks": [{"name": "better", "passed": False}]})
    assert done.finished is not None
    for call in (
        lambda session: record_step(session, update, "freeze", "done", {}),
        lambda session: finish_update(session, update, "promoted", None, {}),
        lambda session: record_step(session, 99, "freeze", "done", {}),
    ):
        with pytest.raises(Problem), store.session() as session:
            call(session)
    assert start(store) == update + 1


def test_unknown_statuses_verdicts_and_versions_are_refused(store: Store) -> None:
    update = start(store)
    for call in (
        lambda session: record_step(session, update, "freeze", "so-so", {}),
        lambda session: finish_update(session, update, "grand", None, {}),
        lambda session: finish_update(session, update, "promoted", 7, {}),
    ):
        with pytest.raises(Problem), store.session() as session:
            call(session)


@pytest.mark.parametrize("home", ["home", "home of another host"])
def test_the_lock_names_its_owner_and_dies_with_it(tmp_path: Path, store: Store, url: str | None, home: str) -> None:
    if url is None:
        home = "home"  # a file is locked where it lies
    command = [sys.executable, "-c", HOLD, str(tmp_path / home), url or ""]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(Problem, match=f"process {owner.pid}"), update_lock(store):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    for _ in range(200):  # the server notices the end of a connection soon, not at once
        with contextlib.suppress(Problem), update_lock(store):
            with pytest.raises(Problem), update_lock(store):
                pass
            return
        time.sleep(0.05)
    raise AssertionError("the lock outlived its owner")


def test_an_unfinished_update_is_ended_by_hand_and_what_was_half_done_goes(store: Store) -> None:
    with pytest.raises(Problem, match="No update is unfinished") as none:
        discard_update(store, "ann")
    assert none.value.status == 3
    number = start(store)
    folder = store.home / "updates" / str(number)
    for step in ("reward", "train.tmp"):
        (folder / step).mkdir(parents=True)
        (folder / step / "weights").write_bytes(b"weights")
    with update_lock(store), pytest.raises(Problem, match="running already"):
        discard_update(store, "ann")
    assert discard_update(store, "ann") == number
    assert [each.name for each in folder.iterdir()] == ["reward"]
    with store.session(reading=True) as session:
        assert unfinished(session) is None
        (row,) = list_updates(session)
        assert (row.verdict, row.report) == ("discarded", {"why": "discarded by ann"})
    assert start(store) == number + 1


def test_only_an_update_with_a_verdict_says_what_was_learned_from(store: Store) -> None:
    with store.session(reading=True) as session:
        assert last_dataset(session) is None
    for verdict, report, expected in (
        ("rejected", {"dataset": "a"}, "a"),
        ("failed", {"why": "a person that it learned from was erased"}, "a"),
        ("discarded", {"why": "discarded by ann"}, "a"),
        ("candidate", {"dataset": "b"}, "b"),
        ("failed", {"why": "no ratings"}, "b"),
    ):
        number = start(store)
        with store.session() as session:
            finish_update(session, number, verdict, None, report)
        with store.session(reading=True) as session:
            assert last_dataset(session) == expected
