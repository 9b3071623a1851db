"""The rows of a feedback file: a JSON array or one JSON object a line, compressed with gzip or not; a single JSON
object; Parquet; CSV; SQLite. One row at a time: memory does not grow with the file.

The first bytes decide, not the name (only CSV, which has none, goes by its name). A row comes with its place; a line
that is no JSON comes as a `BadRow` in its stead, while a file that as a whole cannot be read is a `Problem`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from problems import Problem
from store.formats import json_array, tables
from store.formats.rows import BadRow

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"

Rows = Iterator[tuple[str, dict[str, Any] | BadRow]]


def read_rows(path: Path) -> Rows:
    """(place, row) of each row; the place is `line 3` or, where rows have no lines, `row 3`, counted from 1.

    Raises:
        Problem: the file cannot be opened, its compression is damaged, or its array is no JSON (cut off, for example).
    """
    try:
        with path.open("rb") as raw:
            start = raw.peek(16)
            if start.startswith(tables.PARQUET):
                yield from tables.parquet(path)
            elif start.startswith(tables.SQLITE):
                yield from tables.sqlite(path)
            else:
                packed = start.startswith(GZIP)
                file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
                yield from _text(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Problem(
            f"{path} is damaged or cut off: its compression does not hold.",
            hint="Copy the file again; nothing was stored.",
        ) from None
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror or error}.", hint="Check the file's name.") from None


def _text(path: Path, file: BinaryIO) -> Rows:
    first = _first_byte(file)
    file.seek(0)
    if first == b"[":
        yield from _array(path, file)
    elif path.name.lower().removesuffix(".gz").endswith(".csv"):
        yield from tables.csv_rows(path, file)
    elif first == b"{" and (whole := _whole(file)) is not None:
        yield "row 1", whole
    else:
        file.seek(0)
        yield from _lines(file)


def _first_byte(file: BinaryIO) -> bytes:
    while block := file.read(4096):
        rest = block.removeprefix(BOM).lstrip()
        if rest:
            return rest[:1]
    return b""


def _array(path: Path, file: BinaryIO) -> Rows:
    try:
        for number, row in enumerate(json_array.values(file), start=1):
            yield f"row {number}", row if isinstance(row, dict) else BadRow("it is no object with named fields")
    except json.JSONDecodeError as error:
        raise Problem(
            f"{path} is not whole JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            hint="It may have been cut off: copy or export it again. Nothing was stored.",
        ) from None
    except UnicodeDecodeError as error:
        raise Problem(f"{path} is not UTF-8 at byte {error.start}.", hint="Convert it to UTF-8.") from None
    except (ValueError, RecursionError):
        raise Problem(f"{path} nests too deeply, or holds a number too long to read.") from None


def _whole(file: BinaryIO) -> dict[str, Any] | None:
    """The file as one object written over several lines; None when it is something else: lines, or damaged."""
    if isinstance(_line(file.readline().removeprefix(BOM)), dict):
        return None
    file.seek(0)
    try:
        value = json_array.only_value(file)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _lines(file: BinaryIO) -> Rows:
    for number, line in enumerate(file, start=1):
        text = line.removeprefix(BOM) if number == 1 else line
        if text.strip():
            yield f"line {number}", _line(text)


def _line(line: bytes) -> dict[str, Any] | BadRow:
    try:
        row = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        return BadRow(f"it is no JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError as error:
        return BadRow(f"it is not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError):
        return BadRow("it nests too deeply, or holds a number too long to read")
    return row if isinstance(row, dict) else BadRow("it is no object with named fields")
