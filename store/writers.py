"""Rows into files: JSON lines, JSON lines under gzip, Parquet. And several files under their names, or none of them.

The same rows give the same bytes. Memory does not grow with the number of rows.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from problems import Problem
from store.forms import Row, Shape

FORMATS = ("jsonl", "jsonl.gz", "parquet")
GROUP_ROWS = 10_000  # a Parquet row group holds this many rows at most,
GROUP_SIZE = 8_000_000  # and is closed when its text reaches this many characters


class RowWriter(Protocol):
    """What takes rows, one after the other."""

    def write(self, row: Row) -> None:
        """Add a row."""


class Draft:
    """Files under temporary names beside the places that they are meant for."""

    def __init__(self) -> None:
        self._files: dict[Path, Path] = {}

    def place(self, target: Path) -> Path:
        """A temporary name to write what will be called `target`."""
        self._files[target] = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        return self._files[target]

    def keep(self) -> None:
        """Give all files their names, in the order in which their places were asked for, once all are on disk."""
        for temporary in self._files.values():
            _sync(temporary)
        for target, temporary in self._files.items():
            temporary.replace(target)
        for folder in {target.parent for target in self._files}:
            _sync(folder)  # the new names, too, must be on disk before anybody is told

    def drop(self) -> None:
        """Remove what has not got its name."""
        for temporary in self._files.values():
            temporary.unlink(missing_ok=True)


@contextmanager
def all_or_none() -> Iterator[Draft]:
    """Files that appear together when the block ends; when it raises, none does and earlier ones stay."""
    draft = Draft()
    try:
        yield draft
        draft.keep()
    finally:
        draft.drop()


def format_of(path: Path, given: str | None) -> str:
    """The format of a file: as given, else by the ending of its name.

    Raises:
        Problem: neither tells one.
    """
    if given is not None:
        if given not in FORMATS:
            raise Problem(f"There is no format {given!r}.", hint=f"Use one of: {', '.join(FORMATS)}.", status=2)
        return given
    found = next((name for name in FORMATS if path.name.lower().endswith(f".{name}")), None)
    if found is None:
        raise Problem(
            f"The name {path.name} does not tell a format.",
            hint=f"End it in {', '.join(f'.{name}' for name in FORMATS)}, or name the format with --format.",
            status=2,
        )
    return found


@contextmanager
def rows_to(path: Path, format: str, shapes: Mapping[str, Shape]) -> Iterator[RowWriter]:
    """A writer of rows with the columns in `shapes` to a new file in one of FORMATS."""
    if format == "parquet":
        with _parquet(path, shapes) as writer:
            yield writer
        return
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("wb"))
        if format == "jsonl.gz":
            # Without a name and a time in its header, so that the same rows are the same file.
            packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0))
            yield _Lines(stack.enter_context(io.BufferedWriter(cast(io.RawIOBase, packed), 1 << 16)))
        else:
            yield _Lines(raw)


class _Lines:
    def __init__(self, file: io.BufferedWriter) -> None:
        self._file = file

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _parquet(path: Path, shapes: Mapping[str, Shape]) -> Iterator[RowWriter]:
    import pyarrow
    from pyarrow import parquet

    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    sharegpt = pyarrow.struct([("from", pyarrow.string()), ("value", pyarrow.string())])
    types: dict[Shape, Any] = {
        "turns": pyarrow.list_(turn),
        "sharegpt turns": pyarrow.list_(sharegpt),
        "sharegpt turn": sharegpt,
        "flag": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[shape]) for name, shape in shapes.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        group = _Group(lambda rows: file.write_table(pyarrow.Table.from_pylist(rows, schema=schema)))
        yield group
        group.flush()


class _Group:
    """Rows of a row group, handed on together when there are enough."""

    def __init__(self, send: Callable[[list[Row]], None]) -> None:
        self._send = send
        self._rows: list[Row] = []
        self._size = 0

    def write(self, row: Row) -> None:
        self._rows.append(row)
        self._size += sum(len(each) for each in _texts(row))
        if len(self._rows) >= GROUP_ROWS or self._size >= GROUP_SIZE:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._send(self._rows)
        self._rows, self._size = [], 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
