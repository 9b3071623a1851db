"""A backup of a store while it is in use: one tar archive of its rows, its adapters and its updates, with a manifest.

The rows are a SQLite file on either database, so that a backup moves between them. They are taken first and are one
state: every rating acknowledged before the backup began is in it. Folders come after the rows that name them; a step of
an update is written under another name and renamed, so what a row names is whole. `store.restore` reads the archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, select

from problems import Problem
from store.database import OWNER_FILE, Store, migrate, schema_of
from store.engines import make_engine
from store.schema import Update, Version, now
from store.transfer import copy_rows, count_rows
from store.writers import all_or_none

FORMAT = 1
ROWS = "ratchet.db"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BackupReport:
    """What an archive holds: rows by table, files, and the folders that the rows name but that are not there."""

    path: Path
    bytes: int
    schema: str
    counts: dict[str, int]
    files: int
    missing: list[str]


def backup(store: Store, out: Path) -> BackupReport:
    """Write an archive of the store to `out`, whole or not at all; an earlier file is replaced.

    Raises:
        Problem: the file cannot be written there.
    """
    if not out.parent.is_dir():
        raise Problem(f"There is no folder {out.parent}.", hint="Make it first, or choose another place.")
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work, all_or_none() as draft:
            rows, archive = Path(work) / ROWS, draft.place(out)
            _write_rows(store, rows)
            manifest = _write_archive(store, rows, archive)
            size = archive.stat().st_size
    except OSError as error:
        raise Problem(f"{out} cannot be written: {error.strerror}.", hint="Choose another place.") from None
    return BackupReport(out, size, manifest["schema"], manifest["counts"], len(manifest["files"]), manifest["missing"])


def rows_engine(file: Path) -> Engine:
    """A SQLite file without the checks of keys that a store's own connections make: it is filled out of order."""
    return create_engine(f"sqlite:///{file}")


def _write_rows(store: Store, file: Path) -> None:
    if store.engine.dialect.name == "sqlite":
        with (
            closing(sqlite3.connect(str(store.engine.url.database))) as source,
            closing(sqlite3.connect(file)) as target,
        ):
            source.backup(target)  # all pages in one step: one state, and writers go on
            target.execute("PRAGMA journal_mode=DELETE")  # one file
        return
    empty = make_engine(f"sqlite:///{file}")
    migrate(empty)
    with closing(empty.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA journal_mode=DELETE")
    empty.dispose()
    engine = rows_engine(file)
    with store.session(reading=True) as session, engine.begin() as target_connection:
        copy_rows(session.connection(), target_connection)
    engine.dispose()


def _write_archive(store: Store, rows: Path, archive: Path) -> dict[str, Any]:
    engine = rows_engine(rows)
    with engine.connect() as connection:
        counts = count_rows(connection)
        named = [Path(path) for path in connection.scalars(select(Version.adapter)) if path]
        named += [Path("updates") / str(number) for number in connection.scalars(select(Update.id))]
    schema = schema_of(engine)
    engine.dispose()
    files: dict[str, dict[str, Any]] = {}
    archive.touch(OWNER_FILE)  # what people said: for nobody else on this machine
    with archive.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        files[ROWS] = _add(tar, rows, ROWS)
        for path in sorted({each for folder in named for each in _files(store.home, folder)}):
            files[path] = _add(tar, store.home / path, path)
        manifest = {
            "format": FORMAT,
            "created": now().isoformat(),
            "database": store.engine.dialect.name,
            "schema": schema,
            "counts": counts,
            "files": files,
            "missing": [str(folder) for folder in named if not (store.home / folder).is_dir()],
        }
        content = json.dumps(manifest, indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return manifest


def _files(home: Path, folder: Path) -> Iterator[str]:
    """The files under `home/folder`, relative to `home`; a step that is being made (`*.tmp`) is left out."""
    for path in (home / folder).rglob("*"):
        relative = path.relative_to(home)
        if path.is_file() and not path.is_symlink() and not any(part.endswith(".tmp") for part in relative.parts):
            yield relative.as_posix()


def _add(tar: tarfile.TarFile, path: Path, name: str) -> dict[str, Any]:
    with path.open("rb") as file:
        info = tarfile.TarInfo(name)
        status = os.fstat(file.fileno())
        info.size, info.mtime = status.st_size, status.st_mtime
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        tar.addfile(info, file)
    return {"bytes": info.size, "sha256": digest}
