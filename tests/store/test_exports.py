from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from problems import Problem
from store.conversations import set_consent
from store.database import Store, open_store
from store.exports import export
from store.forms import FORMS
from store.imports import import_file

from .conftest import Scene


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_preferences_leave_in_conversational_columns(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    one, two, three, four = (scene.answer(ann, "Q", text) for text in ("one", "two", "three", "four"))
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(one, ann, "pair", "right", three)
    scene.rate(two, ann, "pair", "tie", three)
    scene.rate(two, ann, "pair", "both_bad", four)
    scene.rate(four, ann, "correction", "five")
    scene.rate(one, ann, "thumb", 1)
    scene.rate(scene.answer(ann, "R", "six"), ann, "pair", "left", one)
    report = export(scene.store, tmp_path / "out.jsonl")
    assert (report.rows, report.path, report.as_) == (3, tmp_path / "out.jsonl", "preference")
    assert report.left_out == {"tie": 1, "both_bad": 1, "different prompts": 1}
    assert lines(report.path) == [
        {"prompt": [turn("user", "Q")], "chosen": [turn("assistant", good)], "rejected": [turn("assistant", bad)]}
        for good, bad in (("one", "two"), ("three", "one"), ("five", "four"))
    ]


def test_thumbs_leave_as_labels(scene: Scene, tmp_path: Path) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    good, bad = scene.answer(ann, "Q", "good"), scene.answer(ann, "Q", "bad\n")
    scene.rate(good, ann, "thumb", 1)
    scene.rate(bad, ann, "thumb", -1)
    scene.rate(bad, bob, "thumb", 1)
    with scene.store.session() as session:
        set_consent(session, bob, False)
    assert export(scene.store, tmp_path / "out.jsonl", "unpaired").rows == 2
    assert lines(tmp_path / "out.jsonl") == [
        {"prompt": [turn("user", "Q")], "completion": [turn("assistant", text)], "label": text == "good"}
        for text in ("good", "bad\n")
    ]


def test_corrections_leave_as_conversations(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    history = [turn("system", "S"), turn("user", "Q"), turn("assistant", "A"), turn("user", "R")]
    answer = scene.answer(ann, history, "bad")
    scene.rate(answer, ann, "correction", "good")
    scene.rate(answer, ann, "thumb", -1)
    report = export(scene.store, tmp_path / "out.jsonl", "sft")
    assert (report.rows, report.kinds, report.left_out) == (1, {"correction": 1}, {})
    assert lines(report.path) == [{"messages": [*history, turn("assistant", "good")]}]


def test_each_prompt_leaves_once(scene: Scene, tmp_path: Path) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    for question in ("Q", "R", "Q", "I am a@b.org", "I am c@d.org"):
        scene.answer(ann, question, "A")
    scene.answer(bob, "private", "A")
    with scene.store.session() as session:
        set_consent(session, bob, False)
    report = export(scene.store, tmp_path / "out.jsonl", "prompt")
    assert report.left_out == {"repeated": 2, "no consent or no text": 1}
    assert report.scrubbed == {"prompt": {"email": 1}}
    assert lines(report.path) == [{"prompt": [turn("user", text)]} for text in ("Q", "R", "I am <EMAIL>")]
    assert (report.twin, report.info) == (None, None)
    assert export(scene.store, tmp_path / "out.jsonl", "prompt", scrub=False).rows == 4


def test_personal_data_stays_here_unless_asked_for(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    one, two = (scene.answer(ann, "Mail ann@example.com", f"Call +44 20 7946 {n}") for n in ("0958", "0959"))
    three = scene.answer(ann, "Mail ann@example.com", "No.")
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(one, ann, "pair", "right", three)
    report = export(scene.store, tmp_path / "out.jsonl")
    assert report.scrubbed == {"prompt": {"email": 1}, "rejected": {"phone": 1}}
    assert report.left_out == {"same text once scrubbed": 1}
    assert lines(report.path) == [
        {
            "prompt": [turn("user", "Mail <EMAIL>")],
            "chosen": [turn("assistant", "No.")],
            "rejected": [turn("assistant", "Call <PHONE>")],
        }
    ]
    plain = export(scene.store, tmp_path / "plain.jsonl", scrub=False)
    assert (plain.rows, plain.scrubbed) == (2, None)
    assert lines(plain.path)[0]["prompt"] == [turn("user", "Mail ann@example.com")]


def filled(scene: Scene) -> None:
    """A pair, a correction and two thumbs, in two languages and with line ends that are not only \\n."""
    ann = scene.person("ann")
    one = scene.answer(ann, [turn("system", "S"), turn("user", "你好")], "one\u2028two")
    two = scene.answer(ann, [turn("system", "S"), turn("user", "你好")], 'two "\n')
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(two, ann, "correction", "三")
    scene.rate(one, ann, "thumb", 1)
    scene.rate(two, ann, "thumb", -1)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("as_", ["preference", "unpaired", "prompt", "sft"])
def test_datasets_loads_what_was_written(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_: str, ending: str
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    from datasets import load_dataset

    filled(scene)
    folder = tmp_path / "out"
    folder.mkdir()
    report = export(scene.store, folder / f"data.{ending}", as_)
    plain = export(scene.store, tmp_path / "plain.jsonl", as_)
    # The folder, as the hub reads it: by the card, which names the file.
    data = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.column_names == list(FORMS[as_].shapes)
    assert list(data) == lines(plain.path)
    assert len(data) == report.rows > 0
    if report.twin is not None:
        kind = "parquet" if ending == "parquet" else "json"
        twin = load_dataset(kind, data_files=str(report.twin), split="train", cache_dir=str(tmp_path / "cache"))
        factory = FORMS[as_].factory
        assert factory is not None
        assert twin.column_names == list(factory.shapes)
        assert list(twin) == (list(data) if factory.row is None else [factory.row(row) for row in data])


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
def test_the_same_store_gives_the_same_files(scene: Scene, tmp_path: Path, ending: str) -> None:
    filled(scene)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export(scene.store, tmp_path / name / f"out.{ending}", license="cc0-1.0")
    one, two = ({each.name: each.read_bytes() for each in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert {"README.md", "dataset_info.json", f"out.{ending}"} < set(one)


def test_an_export_alone_has_no_second_file(scene: Scene, tmp_path: Path) -> None:
    filled(scene)
    (tmp_path / "out").mkdir()
    report = export(scene.store, tmp_path / "out" / "out.jsonl", llama_factory=False)
    assert (report.info, report.twin) == (None, None)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["README.md", "out.jsonl"]


def test_progress_counts_to_all(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.exports.STEP", 1)
    filled(scene)
    said: list[tuple[int, int]] = []
    export(scene.store, tmp_path / "out.jsonl", progress=lambda _what, done, total: said.append((done, total)))
    assert said == [(1, 2), (2, 2)]


def test_a_failed_export_leaves_the_earlier_file_and_nothing_beside_it(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "good"), ann, "thumb", 1)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.jsonl").write_text("earlier")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Problem, match="No space left"):
        export(scene.store, folder / "out.jsonl", "unpaired")
    assert {each.name: each.read_text() for each in folder.iterdir()} == {"out.jsonl": "earlier"}


def test_where_it_cannot_go_is_a_problem(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no folder"):
        export(store, tmp_path / "none" / "out.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Problem, match="cannot be written"):
        export(store, tmp_path / "folder")
    for wrong, options in (
        ("no form 'csv'", {"as_": "csv"}),
        ("does not tell a format", {}),
        ("no format 'xml'", {"format": "xml"}),
        ("no license's id", {"format": "jsonl", "license": "CC BY: 4"}),
    ):
        with pytest.raises(Problem, match=wrong) as caught:
            export(store, tmp_path / "out.csv", **options)  # type: ignore[arg-type]
        assert caught.value.status == 2
    with pytest.raises(Problem, match="beside the export"):
        export(store, tmp_path / "README.md", format="jsonl")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "home"]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=2)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TURNS, TEXT, TEXT, TEXT).filter(lambda row: row[2] != row[3]), min_size=1, max_size=4),
    as_=st.sampled_from(["preference", "unpaired"]),
)
def test_what_leaves_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, str, str, str]], as_: str
) -> None:
    folder = tmp_path_factory.mktemp("round")
    first, second = open_store(folder / "first"), open_store(folder / "second")
    scene = Scene(first)
    ann = scene.person("ann")
    for turns, question, good, bad in rows:
        messages = [turn(role, content) for role, content in turns] + [turn("user", question)]
        one, two = scene.answer(ann, messages, good), scene.answer(ann, messages, bad)
        scene.rate(one, ann, "pair", "left", two)
        scene.rate(two, ann, "thumb", -1)
    export(first, folder / "first.jsonl", as_, scrub=False)
    report = import_file(second, folder / "first.jsonl")
    assert report.imported == len(rows)
    export(second, folder / "second.jsonl", as_, scrub=False)
    assert (folder / "second.jsonl").read_bytes() == (folder / "first.jsonl").read_bytes()
    for file in ("first.jsonl", "first.llama-factory.jsonl" if as_ == "preference" else "first.jsonl"):
        again = import_file(first, folder / file)
        assert (again.imported, again.duplicates) == (0, len(rows))
    first.close()
    second.close()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_an_export_needs_little_memory(store: Store, tmp_path: Path, ending: str) -> None:
    chosen = "x" * 20_000
    rows = [{"prompt": f"Q{number}", "chosen": chosen, "rejected": "bad"} for number in range(2000)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(store, tmp_path / "in.jsonl")
    tracemalloc.start()
    assert export(store, tmp_path / f"out.{ending}").rows == 2000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if ending == "jsonl":
        assert (tmp_path / "out.jsonl").stat().st_size > 40_000_000
    assert peak < 30_000_000
