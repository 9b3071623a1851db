from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from problems import Problem
from store.frozen import KINDS, Frozen, Pair, Prompt, Row, Score, Split, Tagged, Thumb, hash_of, redact

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ASKED: dict[str, st.SearchStrategy[Any]] = {
    "messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXT}), max_size=2),
    "person": st.sampled_from(["ann", "bob"]),
    "conversation": st.sampled_from(["c0", "c1", "c2"]),
    "split": st.sampled_from(["train", "holdout"]),
}
OUTCOME = st.sampled_from([1.0, 0.5, 0.0])
ROWS = st.fixed_dictionaries(
    {
        "pairs": st.lists(st.builds(Pair, first=TEXT, second=TEXT, outcome=OUTCOME, kind=st.just("pair"), **ASKED)),
        "thumbs": st.lists(st.builds(Thumb, answer=TEXT, liked=st.booleans(), kind=st.just("thumb"), **ASKED)),
        "prompts": st.lists(st.builds(Prompt, **ASKED)),
        "scores": st.lists(st.builds(Score, answer=TEXT, score=st.integers(1, 10), **ASKED)),
        "tags": st.lists(st.builds(Tagged, answer=TEXT, tags=st.lists(TEXT, min_size=1), **ASKED)),
    }
)
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def of(rows: dict[str, Any]) -> Frozen:
    return Frozen(hash_of(rows), **rows)


def one_of_each() -> dict[str, list[Any]]:
    said: list[dict[str, Any]] = [{"role": "user", "content": "línea\u2028 end\x85\7\r\n"}]
    split: Split = "train"
    return {
        "pairs": [Pair(said, "one", "two", 0.0, "pair", "ann", "c0", split, "thompson")],
        "thumbs": [Thumb(said, "one", True, "thumb", "bob", "c1", split)],
        "prompts": [Prompt(said, "ann", "c0", split)],
        "scores": [Score(said, "one", 7, "ann", "c0", split)],
        "tags": [Tagged(said, "one", ["Too long", "太长"], "bob", "c1", split)],
    }


@SLOW
@given(rows=ROWS)
def test_a_dataset_comes_back_from_its_folder(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("dataset")
    dataset = of(rows)
    dataset.to_json(folder)
    assert {path.name for path in folder.iterdir()} == {"dataset.json"} | {f"{kind}.jsonl" for kind in KINDS}
    assert Frozen.from_json(folder) == dataset
    assert dataset.ratings == sum(len(each) for kind, each in rows.items() if kind != "prompts")


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_change_of_any_file_is_noticed(tmp_path: Path, kind: str) -> None:
    of(one_of_each()).to_json(tmp_path)
    file = tmp_path / f"{kind}.jsonl"
    whole = file.read_bytes()
    row = json.loads(whole)
    for changed in (json.dumps(row | {"person": "cem"}).encode() + b"\n", whole + whole, b""):
        file.write_bytes(changed)
        with pytest.raises(Problem, match="hash"):
            Frozen.from_json(tmp_path)
    for damaged in (whole[:-5], b"\xff\n", b"[1]\n", json.dumps(row | {"mood": 1}).encode()):
        file.write_bytes(damaged)
        with pytest.raises(Problem, match="cannot be read"):
            Frozen.from_json(tmp_path)
    file.unlink()
    with pytest.raises(Problem, match=r"cannot be read|hash"):
        Frozen.from_json(tmp_path)


@SLOW
@given(rows=ROWS)
def test_the_hash_tells_rows_orders_and_kinds_apart(rows: dict[str, Any]) -> None:
    first = hash_of(rows)
    for kind, each in rows.items():
        if each:
            assert hash_of(rows | {kind: each[1:]}) != first
        if each != each[::-1]:
            assert hash_of(rows | {kind: each[::-1]}) != first


def write_older(folder: Path) -> list[dict[str, Any]]:
    """A dataset as it was written before scores, tags and draws were frozen; the rows of its thumbs."""
    shared = {"messages": [{"role": "user", "content": "Q"}], "person": "ann", "conversation": "c0", "split": "train"}
    thumbs = [{"answer": text, "liked": False, "kind": "both_bad"} | shared for text in ("one", "two")]
    rows = {
        "pairs": [{"first": "one", "second": "two", "outcome": 0.5, "kind": "pair"} | shared],
        "thumbs": thumbs,
        "prompts": [shared],
    }
    digest = hashlib.sha256()
    for name, each in rows.items():
        lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in each)
        digest.update(f"{name}\n{lines}".encode())
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps({"hash": digest.hexdigest(), "left_out": {}, "scrubbed": {}}))
    return thumbs


def test_what_an_older_version_froze_is_read_as_it_was_written(tmp_path: Path) -> None:
    thumbs = write_older(tmp_path)
    dataset = Frozen.from_json(tmp_path)
    assert [(pair.outcome, pair.draw) for pair in dataset.pairs] == [(0.5, "uniform")]
    assert dataset.thumbs == [Thumb(**row) for row in thumbs]
    assert (dataset.scores, dataset.tags, dataset.ratings) == ([], [], 3)
    (tmp_path / "scores.jsonl").write_text(json.dumps(vars(one_of_each()["scores"][0])) + "\n")
    with pytest.raises(Problem, match="hash"):
        Frozen.from_json(tmp_path)


@SLOW
@given(rows=ROWS, person=st.sampled_from(["ann", "nobody"]), conversations=st.sets(st.sampled_from(["c0", "c1"])))
def test_redacting_takes_out_what_is_theirs_of_every_kind_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[Row]], person: str, conversations: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("dataset")
    of(rows).to_json(folder)
    kept = {
        kind: [row for row in each if row.person != person and row.conversation not in conversations]
        for kind, each in rows.items()
    }
    gone = sum(map(len, rows.values())) - sum(map(len, kept.values()))
    assert redact(folder, person, conversations) == gone
    for kind, each in kept.items():
        written = (folder / f"{kind}.jsonl").read_bytes().decode().split("\n")
        assert [json.loads(line) for line in written if line] == [vars(row) for row in each]
    assert redact(folder, person, conversations) == 0
    if gone:
        with pytest.raises(Problem, match="erased"):
            Frozen.from_json(folder)
    else:
        assert Frozen.from_json(folder) == of(rows)
