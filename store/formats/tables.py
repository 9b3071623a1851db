"""The rows of files that are tables: Parquet, CSV with a header, and every table of an SQLite database.

Each row comes as an object of its columns, with its place.
"""

from __future__ import annotations

import codecs
import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from problems import Problem
from store.formats.rows import BadRow

PARQUET = b"PAR1"
SQLITE = b"SQLite format 3\0"
BATCH = 256  # rows
PIECE = 1 << 20  # bytes read at once from a column

Rows = Iterator[tuple[str, dict[str, Any] | BadRow]]


def parquet(path: Path) -> Rows:
    """Rows of a Parquet file, a batch at a time. Problem when it is damaged."""
    from pyarrow import ArrowException
    from pyarrow import parquet as arrow

    try:
        # Without a buffer size the whole of a column's chunk is read at once, which may be the whole file.
        with arrow.ParquetFile(path, buffer_size=PIECE, pre_buffer=False) as file:
            number = 0
            for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    # A column that a row lacks is null in it.
                    yield f"row {number}", {name: value for name, value in row.items() if value is not None}
    except (ArrowException, OSError, ValueError) as error:
        raise Problem(
            f"{path} is no whole Parquet file: {str(error).splitlines()[0] if str(error) else 'it cannot be read'}.",
            hint="Copy the file again; nothing was stored.",
        ) from None


def csv_rows(path: Path, file: BinaryIO) -> Rows:
    """Rows of a CSV file in UTF-8; a short row lacks its last columns, a row with more values than columns is bad."""
    # Conversations are long values; the limit is the module's, not the reader's.
    csv.field_size_limit(1 << 30)
    reader = csv.reader(codecs.iterdecode(file, "utf-8-sig"), strict=True)
    header: list[str] = []
    begun = 1
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield f"line {begun}", BadRow(f"it is no CSV: {error}")
            begun = reader.line_num + 1
            continue
        except UnicodeDecodeError as error:
            raise Problem(f"{path} is not UTF-8 from line {begun}: {error.reason}.", hint="Convert it.") from None
        place, begun = f"line {begun}", reader.line_num + 1
        if values is None:
            return
        if not header:
            header = values
        elif len(values) > len(header):
            yield place, BadRow(f"it has {len(values)} values and the header {len(header)}")
        elif values:
            yield place, dict(zip(header, values, strict=False))


def sqlite(path: Path) -> Rows:
    """Rows of all tables of an SQLite database, in the order of the tables' names. Problem when it is damaged."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            # Text that is no UTF-8 comes with half surrogates, which are refused as such, row by row.
            connection.text_factory = lambda value: value.decode("utf-8", "surrogateescape")
            connection.row_factory = sqlite3.Row
            names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
            for (table,) in connection.execute(names).fetchall():
                quoted = '"' + table.replace('"', '""') + '"'
                for number, row in enumerate(connection.execute(f"SELECT * FROM {quoted}"), start=1):
                    yield f"{table} row {number}".encode("utf-8", "replace").decode(), dict(row)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Problem(f"{path} is no sound SQLite database: {error}.", hint="Copy the file again.") from None
