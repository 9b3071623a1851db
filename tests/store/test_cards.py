from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from sqlalchemy import update

from problems import Problem
from store.cards import ExportReport, card_place, card_text, check_license
from store.exports import export
from store.forms import FORMS
from store.schema import Rating

from .conftest import Scene


def report(out: Path, rows: int = 3) -> ExportReport:
    return ExportReport(rows=rows, path=out, as_="unpaired", format="jsonl", sha256="0" * 64)


def test_the_hub_reads_the_front_matter(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    good, bad = scene.answer(ann, "a@b.org", "good"), scene.answer(ann, "Q", "bad")
    scene.rate(good, ann, "correction", "better")
    scene.rate(good, ann, "pair", "tie", bad)
    with scene.store.session() as session:
        session.execute(update(Rating).values(created=datetime(2025, 3, 1, 23, tzinfo=UTC)))
    out = tmp_path / "my data: 1.jsonl"
    done = export(scene.store, out, license="cc-by-4.0")
    assert done.card == tmp_path / "README.md"
    card = DatasetCard.load(done.card)
    assert card.data.to_dict() == {
        "license": "cc-by-4.0",
        "size_categories": ["n<1K"],
        "task_categories": ["text-generation"],
        "tags": ["human-feedback", "trl", "trl-preference"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "my data: 1.jsonl"}]}],
    }
    for line in (
        "1 rows, exported by Ratchet, with the opinions up to 2025-03-01.",
        "| correction | 1 |",
        "| tie | 1 |",
        "| chosen | the preferred answer, one turn of the assistant |",
        "| prompt | email | 1 |",
        f"`my data: 1.jsonl`, sha256 `{hashlib.sha256(out.read_bytes()).hexdigest()}`.",
        "`my data: 1.llama-factory.jsonl` holds the same rows in columns that LLaMA-Factory reads.",
    ):
        assert line in card.text


def test_a_license_unknown_and_words_unread_are_said_so(tmp_path: Path) -> None:
    card = card_text(report(tmp_path / "out.jsonl"), FORMS["unpaired"])
    assert "license" not in card
    assert "Nobody looked for any" in card


def test_size_categories() -> None:
    for rows, size in ((0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**7, "10M<n<100M")):
        assert f'- "{size}"' in card_text(report(Path("out.jsonl"), rows), FORMS["unpaired"])


def test_a_license_is_an_id() -> None:
    for good in (None, "mit", "cc-by-sa-4.0", "other"):
        check_license(good)
    for bad in ("", "MIT", "cc by", "mit\nx: y"):
        with pytest.raises(Problem) as caught:
            check_license(bad)
        assert caught.value.status == 2


def test_somebody_elses_readme_stays(scene: Scene, tmp_path: Path) -> None:
    out, other = tmp_path / "out.jsonl", tmp_path / "other.parquet"
    assert card_place(out) == tmp_path / "README.md"
    export(scene.store, out)
    assert card_place(out) == tmp_path / "README.md"
    first = (tmp_path / "README.md").read_text()
    assert export(scene.store, other).card == tmp_path / "other.parquet.card.md"
    assert (tmp_path / "README.md").read_text() == first
    (tmp_path / "README.md").write_bytes(b"# Mine \xff")
    assert export(scene.store, out).card == tmp_path / "out.jsonl.card.md"
    assert (tmp_path / "README.md").read_bytes() == b"# Mine \xff"
