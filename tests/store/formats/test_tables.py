from __future__ import annotations

import datetime
import gzip
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from problems import Problem
from store.formats.files import read_rows
from store.formats.rows import BadRow

HEADER = "conversation,index,value,flag,timestamp\r\n"


def csv_file(folder: Path, text: str | bytes) -> Path:
    (folder / "log.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / "log.csv"


def test_rows_of_csv_name_the_line_that_they_begin_on(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "\ufeff" + HEADER + '"a\nb",1,x\r\n\r\n"c ""d""",2,é,z,w\r\n')
    rows: list[tuple[str, Any]] = [
        ("line 2", {"conversation": "a\nb", "index": "1", "value": "x"}),
        ("line 5", {"conversation": 'c "d"', "index": "2", "value": "é", "flag": "z", "timestamp": "w"}),
    ]
    assert list(read_rows(file)) == rows
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert list(read_rows(packed)) == rows


def test_a_bad_row_of_csv_is_one_row(tmp_path: Path) -> None:
    file = csv_file(tmp_path, HEADER + '1,2,3,4,5,6\r\n"a"b,1\r\n1,2,3\r\n')
    rows = list(read_rows(file))
    assert [place for place, _ in rows] == ["line 2", "line 3", "line 4"]
    assert [isinstance(row, BadRow) for _, row in rows] == [True, True, False]
    with pytest.raises(Problem, match="not UTF-8 from line 2"):
        list(read_rows(csv_file(tmp_path, HEADER.encode() + b"\xff,1,2\r\n")))


def test_long_values_of_csv_are_read(tmp_path: Path) -> None:
    [(_, row)] = read_rows(csv_file(tmp_path, HEADER + "x" * 10_000_000 + ",1,Like,z\r\n"))
    assert isinstance(row, dict)
    assert len(row["conversation"]) == 10_000_000


def test_rows_of_every_table_of_a_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "file") as connection:
        connection.execute('CREATE TABLE "odd ""name" (a TEXT, b INTEGER)')
        connection.execute("CREATE TABLE first (c BLOB)")
        connection.execute('INSERT INTO "odd ""name" VALUES (CAST(x\'ff41\' AS TEXT), 2), (NULL, 3)')
        connection.execute("INSERT INTO first VALUES (x'00')")
    connection.close()
    before = (tmp_path / "file").read_bytes()
    assert list(read_rows(tmp_path / "file")) == [
        ("first row 1", {"c": b"\0"}),
        ('odd "name row 1', {"a": "\udcffA", "b": 2}),
        ('odd "name row 2', {"a": None, "b": 3}),
    ]
    assert (tmp_path / "file").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_parquet_comes_in_batches_without_its_nulls(tmp_path: Path) -> None:
    rows = [{"a": number, "b": None if number % 2 else [{"c": "é"}]} for number in range(1000)]
    table = pyarrow.table({key: [row[key] for row in rows] for key in rows[0]})
    parquet.write_table(table, tmp_path / "file", row_group_size=300)
    read = list(read_rows(tmp_path / "file"))
    assert [row for _, row in read] == [{key: each for key, each in row.items() if each is not None} for row in rows]
    assert [place for place, _ in read][::999] == ["row 1", "row 1000"]


def test_values_that_json_does_not_have_are_read_too(tmp_path: Path) -> None:
    table = pyarrow.table({"prompt": ["Q"], "at": [datetime.datetime(2100, 1, 1)], "raw": [b"\xff"]})
    parquet.write_table(table, tmp_path / "file")
    [(_, row)] = read_rows(tmp_path / "file")
    assert isinstance(row, dict)
    assert row["prompt"] == "Q"


def test_damaged_tables_are_problems(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"a": ["x" * 50] * 2000}), tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    connection = sqlite3.connect(tmp_path / "base")
    connection.executescript("CREATE TABLE t (a TEXT);" + "INSERT INTO t VALUES (hex(randomblob(900)));" * 50)
    connection.close()
    base = (tmp_path / "base").read_bytes()
    for name, content in (
        ("cut", whole[:-20]),
        ("short", whole[:4]),
        ("changed", whole[:20] + b"\xff" * 200 + whole[220:]),
        ("base cut", base[:2000]),
        ("base changed", base[:100] + b"\xff" * 5000 + base[5100:]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Problem, match=r"no (whole Parquet|sound SQLite)"):
            list(read_rows(tmp_path / name))
