from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from problems import Problem
from store import writers
from store.writers import all_or_none, format_of, rows_to


def test_the_name_tells_the_format_unless_it_is_given() -> None:
    for name, given, found in (
        ("a.jsonl", None, "jsonl"),
        ("a.b.JSONL.GZ", None, "jsonl.gz"),
        ("a.parquet", None, "parquet"),
        ("a.parquet", "jsonl", "jsonl"),
        ("a", "parquet", "parquet"),
    ):
        assert format_of(Path(name), given) == found
    for name, given in (("a.gz", None), ("jsonl", None), ("a.jsonl", "json")):
        with pytest.raises(Problem):
            format_of(Path(name), given)


def test_gzip_holds_the_same_lines(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"第{number}\u2028行\n"}]} for number in range(1000)]
    for format in ("jsonl", "jsonl.gz"):
        with rows_to(tmp_path / format, format, {"prompt": "turns"}) as writer:
            for row in rows:
                writer.write(row)
    plain = (tmp_path / "jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "jsonl.gz").read_bytes()) == plain
    assert [json.loads(line) for line in plain.decode().split("\n")[:-1]] == rows


def test_parquet_closes_a_group_by_rows_and_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import parquet

    monkeypatch.setattr(writers, "GROUP_ROWS", 10)
    monkeypatch.setattr(writers, "GROUP_SIZE", 1000)
    with rows_to(tmp_path / "out", "parquet", {"prompt": "turns", "label": "flag"}) as writer:
        for number in range(25):
            content = "x" * 1000 if number == 3 else "x"
            writer.write({"prompt": [{"role": "user", "content": content}], "label": number % 2 == 0})
    file = parquet.ParquetFile(tmp_path / "out")
    sizes = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert sizes == [4, 10, 10, 1]
    assert file.read().column("label").to_pylist() == [number % 2 == 0 for number in range(25)]


def test_no_rows_are_a_file_with_columns(tmp_path: Path) -> None:
    from pyarrow import parquet

    with rows_to(tmp_path / "out", "parquet", {"prompt": "turns", "chosen": "sharegpt turn"}):
        pass
    assert parquet.read_table(tmp_path / "out").column_names == ["prompt", "chosen"]


def test_files_get_their_names_together(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("earlier")

    def fail() -> None:
        with all_or_none() as draft:
            for name in ("one", "two"):
                draft.place(tmp_path / name).write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"one": "earlier"}
    with all_or_none() as draft:
        for name in ("one", "two"):
            draft.place(tmp_path / name).write_text("new")
        assert (tmp_path / "one").read_text() == "earlier"
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"one": "new", "two": "new"}
