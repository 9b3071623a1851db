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
    with pytest.raises(Problem, match="no form 'csv'") as caught:
        export(store, tmp_path / "out.csv", "csv")
    assert caught.value.status == 2


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
    export(first, folder / "first.jsonl", as_)
    report = import_file(second, folder / "first.jsonl")
    assert report.imported == len(rows)
    export(second, folder / "second.jsonl", as_)
    assert (folder / "second.jsonl").read_bytes() == (folder / "first.jsonl").read_bytes()
    assert import_file(first, folder / "first.jsonl").duplicates == len(rows)
    first.close()
    second.close()


def test_an_export_needs_little_memory(store: Store, tmp_path: Path) -> None:
    chosen = "x" * 20_000
    rows = [{"prompt": f"Q{number}", "chosen": chosen, "rejected": "bad"} for number in range(2000)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(store, tmp_path / "in.jsonl")
    tracemalloc.start()
    assert export(store, tmp_path / "out.jsonl").rows == 2000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out.jsonl").stat().st_size > 40_000_000
    assert peak < 25_000_000
