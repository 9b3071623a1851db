from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from problems import Problem
from store.exports import export
from store.factory import stem, twin_of
from store.forms import FORMS

from .conftest import Scene


def turns_as_llama_factory_reads_them(row: dict[str, Any], entry: dict[str, Any]) -> tuple[list[tuple[str, str]], Any]:
    """The turns and the verdict of a row, read by what the entry says as LLaMA-Factory's converter does."""
    tags, columns = entry["tags"], entry["columns"]
    names = {tags[f"{role}_tag"]: role for role in ("user", "assistant", "observation", "system")}

    def read(turn: dict[str, str]) -> tuple[str, str]:
        return names[turn[tags["role_tag"]]], turn[tags["content_tag"]]

    turns = [read(turn) for turn in row[columns["messages"]]]
    if entry.get("ranking"):
        assert len([turn for turn in turns if turn[0] != "system"]) % 2 == 1
        return turns, (read(row[columns["chosen"]]), read(row[columns["rejected"]]))
    assert len([turn for turn in turns if turn[0] != "system"]) % 2 == 0
    return turns, row[columns["kto_tag"]] if "kto_tag" in columns else None


def test_its_entry_leads_to_rows_that_it_reads(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    good, bad = scene.answer(ann, messages, "good"), scene.answer(ann, messages, "bad")
    scene.rate(good, ann, "pair", "left", bad)
    scene.rate(bad, ann, "thumb", -1)
    scene.rate(good, ann, "correction", "better")
    question = [("system", "S"), ("user", "Q")]
    expected = {
        "preference": (question, (("assistant", "good"), ("assistant", "bad"))),
        "unpaired": ([*question, ("assistant", "bad")], False),
        "sft": ([*question, ("assistant", "better")], None),
    }
    for as_ in expected:
        export(scene.store, tmp_path / f"{as_}.jsonl", as_)
    entries = json.loads((tmp_path / "dataset_info.json").read_text())
    assert set(entries) == set(expected)
    assert entries["preference"]["ranking"] is True
    for as_, reading in expected.items():
        entry = entries[as_]
        assert entry["formatting"] == "sharegpt"
        first = (tmp_path / entry["file_name"]).read_text().splitlines()[0]
        assert turns_as_llama_factory_reads_them(json.loads(first), entry) == reading


def test_a_second_file_only_where_it_is_needed() -> None:
    for form, name, format, twin in (
        ("preference", "a.jsonl", "jsonl", ("a.llama-factory.jsonl", "jsonl")),
        ("unpaired", "a.parquet", "parquet", ("a.llama-factory.parquet", "parquet")),
        ("sft", "a.jsonl", "jsonl", None),
        ("sft", "a.jsonl.gz", "jsonl.gz", ("a.llama-factory.jsonl", "jsonl")),
        ("sft", "a.txt", "jsonl", ("a.txt.llama-factory.jsonl", "jsonl")),
        ("prompt", "a.jsonl.gz", "jsonl.gz", None),
    ):
        found = twin_of(Path("x") / name, FORMS[form], format)
        assert found == (None if twin is None else (Path("x") / twin[0], twin[1]))
    assert stem(Path("a.b.JSONL.gz"), "jsonl.gz") == "a.b"
    assert stem(Path(".jsonl"), "jsonl") == ".jsonl"


def test_the_entries_of_others_stay(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "dataset_info.json"
    theirs = {"alpaca": {"file_name": "alpaca.json"}, "out": {"hf_hub_url": "someone/out"}, "语": 1}
    file.write_text(json.dumps(theirs))
    for _ in range(2):
        export(scene.store, tmp_path / "out.jsonl", "sft")
        entries = json.loads(file.read_text())
        assert {key: entries[key] for key in theirs} == theirs
        assert set(entries) - set(theirs) == {"out.jsonl"}


def test_an_export_has_one_entry_in_whatever_form(scene: Scene, tmp_path: Path) -> None:
    for name, as_, files in (
        ("out.jsonl", "preference", {"out": "out.llama-factory.jsonl"}),
        ("out.jsonl", "sft", {"out": "out.jsonl"}),
        ("out.jsonl", "unpaired", {"out": "out.llama-factory.jsonl"}),
        ("out.parquet", "sft", {"out": "out.llama-factory.jsonl", "out.parquet": "out.parquet"}),
    ):
        export(scene.store, tmp_path / name, as_)
        entries = json.loads((tmp_path / "dataset_info.json").read_text())
        assert {key: entry["file_name"] for key, entry in entries.items()} == files


def test_a_file_that_cannot_be_merged_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "dataset_info.json"
    for text in ("[1]", "{", "\udcff"):
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        before = file.read_bytes()
        with pytest.raises(Problem, match=r"dataset_info\.json is there already"):
            export(scene.store, tmp_path / "out.jsonl")
        assert (file.read_bytes(), (tmp_path / "out.jsonl").exists()) == (before, False)
    assert export(scene.store, tmp_path / "out.jsonl", llama_factory=False).rows == 0
