from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from problems import Problem
from store.formats.files import read_rows
from store.formats.rows import BadRow

ROWS = [{"a": 1}, {"a": "é\u2028 \0"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
FORMS = {
    "array": json.dumps(ROWS, indent=2).encode(),
    "lines": LINES,
    "lines without an end": LINES[:-1],
    "lines of Windows": LINES.replace(b"\n", b"\r\n\r\n"),
    "array with a mark": b"\xef\xbb\xbf\n " + json.dumps(ROWS).encode(),
    "lines with a mark": b"\xef\xbb\xbf" + LINES,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_rows_come_out_of_any_form(tmp_path: Path, form: str, packed: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(gzip.compress(FORMS[form]) if packed else FORMS[form])
    assert [row for _, row in read_rows(file)] == ROWS


def test_places_are_counted_as_a_reader_of_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"\n" + LINES)
    (tmp_path / "array").write_text(json.dumps(ROWS))
    assert [place for place, _ in read_rows(tmp_path / "lines")] == ["line 2", "line 3"]
    assert [place for place, _ in read_rows(tmp_path / "array")] == ["row 1", "row 2"]


@pytest.mark.parametrize("line", [b'{"a": ', b"[1]", b'"text"', b'{"a": "\xff"}', b'{"a": ' + b"[" * 100_000])
def test_a_bad_line_is_a_bad_row_and_the_others_are_read(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "file").write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    rows = dict(read_rows(tmp_path / "file"))
    assert isinstance(rows["line 2"], BadRow)
    assert str(rows["line 2"]).startswith("it ")
    assert (rows["line 1"], rows["line 3"]) == ({"a": 1}, {"a": 2})


def test_a_row_of_an_array_that_is_no_object_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('[{"a": 1}, 5]')
    assert isinstance(dict(read_rows(tmp_path / "file"))["row 2"], BadRow)


@pytest.mark.parametrize("cut", [1, 2, 15, 30])
def test_an_array_cut_off_is_a_problem_that_names_the_place(tmp_path: Path, cut: int) -> None:
    (tmp_path / "file").write_bytes(FORMS["array"][:-cut])
    with pytest.raises(Problem, match=r"file is not whole JSON: .* line \d+, column \d+") as caught:
        list(read_rows(tmp_path / "file"))
    assert "cut off" in caught.value.hint


def test_damaged_files_are_problems(tmp_path: Path) -> None:
    packed = gzip.compress(LINES * 100)
    for name, content in (
        ("cut.gz", packed[:-9]),
        ("changed.gz", packed[:30] + b"\0\0\0\0" + packed[34:]),
        ("latin.json", '[{"a": "é"}]'.encode("latin-1")),
        ("deep.json", b"[" * 100_000),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Problem, match=name):
            list(read_rows(tmp_path / name))


def test_a_missing_file_and_a_folder_are_problems(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(Problem, match="cannot be read"):
            list(read_rows(path))
