"""A backup back into a home: everything is verified first, and a home that somebody uses is left alone."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DatabaseError

from problems import Problem
from store.backup import FORMAT, MANIFEST, ROWS, rows_engine
from store.database import IN_USE, OWNER_FILE, OWNER_FOLDER, explain, keep_private, known_schemas, migrate, schema_of
from store.engines import make_engine, reading
from store.schema import Salt
from store.secret import FILE as SECRET
from store.transfer import clear, copy_rows, count_rows

LOCKS = {IN_USE, "migrate.lock", SECRET}  # of a home, and not of the store in it
FOLDERS = ("updates", "versions")  # that a store keeps beside its database


@dataclass(frozen=True)
class RestoreReport:
    """What was restored: rows by table, and files."""

    home: Path
    schema: str
    counts: dict[str, int]
    files: int


def restore(archive: Path, home: Path, url: str | None = None, *, replace: bool = False) -> RestoreReport:
    """Put a backup into `home`, and its rows into the database at `url` (SQLite in `home` without one).

    Nothing is touched before the whole archive has been verified. The database comes last: when a restore is cut off,
    do it again with `replace`.

    Args:
        replace: give up what the home and the database hold now.

    Raises:
        Problem: the archive is damaged, no backup, or of a newer program; the home or the database is in use, or holds
            a store and `replace` is not set.
    """
    home.mkdir(parents=True, exist_ok=True, mode=OWNER_FOLDER)
    keep_private(home)
    engine = make_engine(url or URL.create("sqlite", database=str(home.resolve() / ROWS)))
    with _alone(home), tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as work, _explained(engine):
        manifest = _unpack(archive, Path(work))
        _verify_rows(Path(work) / ROWS, manifest, archive)
        if not replace and (_held(home, Path(work)) or _has_rows(engine)):
            raise Problem(
                f"There is a store in {home} or its database already.",
                hint="Restore into an empty home with --home, or give it up with --replace.",
            )
        if engine.dialect.name == "postgresql":
            _refuse_company(engine)
        for name in {*FOLDERS, *(entry.name for entry in Path(work).iterdir())} - {ROWS}:
            shutil.rmtree(home / name, ignore_errors=True)
            if (Path(work) / name).exists():
                (Path(work) / name).rename(home / name)
        _put_rows(Path(work) / ROWS, engine)
    return RestoreReport(home, manifest["schema"], manifest["counts"], len(manifest["files"]))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    with (home / IN_USE).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(
                f"The store in {home} is in use.", hint="Stop `ratchet serve` and every other command on it first."
            ) from None
        yield


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise explain(error, engine.url.render_as_string()) from error
    finally:
        engine.dispose()


def _damaged(archive: Path, why: str) -> Problem:
    return Problem(f"{archive} cannot be restored: {why}.", hint="Nothing was changed. Use another backup.")


def _unpack(archive: Path, work: Path) -> dict[str, Any]:
    """Write the archive's files under `work`, each held against its hash in the manifest; the manifest."""
    try:
        with tarfile.open(archive, "r:") as tar:
            members = {member.name: member for member in tar.getmembers()}
            if MANIFEST not in members or len(members) != len(tar.getmembers()):
                raise _damaged(archive, "it has no manifest, or a file twice")
            manifest = json.loads(_content(tar, members.pop(MANIFEST)).read())
            _check_manifest(manifest, set(members), archive)
            for name, member in members.items():
                path = PurePosixPath(name)
                if not member.isreg() or not _is_stores(path):
                    raise _damaged(archive, f"{name!r} in it is no file of a store")
                to = work / path
                to.parent.mkdir(parents=True, exist_ok=True)
                with to.open("wb") as file:
                    shutil.copyfileobj(_content(tar, member), file)
                    file.flush()
                    os.fsync(file.fileno())
                with to.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != manifest["files"][name]["sha256"]:
                        raise _damaged(archive, f"{name} in it is not what was backed up")
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(archive, f"it is no whole backup ({error})") from None
    except FileNotFoundError:
        raise Problem(f"There is no file {archive}.", hint="Check the path.") from None
    return dict(manifest)


def _is_stores(path: PurePosixPath) -> bool:
    """Whether a backup writes such a name: the rows, or a file of an adapter or an update."""
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        return False
    return path == PurePosixPath(ROWS) or (len(path.parts) > 1 and path.parts[0] in FOLDERS)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise ValueError(f"{member.name} is no file")
    return content


def _check_manifest(manifest: Any, names: set[str], archive: Path) -> None:
    if manifest["format"] != FORMAT or manifest["schema"] not in known_schemas():
        raise Problem(
            f"{archive} was written by a newer Ratchet: its schema is {manifest['schema']}, this one knows up to "
            f"{known_schemas()[0]}.",
            hint="Update Ratchet.",
        )
    if set(manifest["files"]) != names or ROWS not in names:
        raise _damaged(archive, "its files are not those of its manifest")


def _verify_rows(rows: Path, manifest: dict[str, Any], archive: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{rows.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            strange = _strangers(connection, manifest["schema"])
            if strange:
                raise _damaged(archive, f"its database holds what no store does: {', '.join(strange)}")
            sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            sound = sound and not connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.DatabaseError:
        sound = False
    if not sound:
        raise _damaged(archive, "its database is not sound")
    engine = rows_engine(rows)
    with engine.connect() as found:
        counts = count_rows(found)
    schema = schema_of(engine)
    engine.dispose()
    if (counts, schema) != (manifest["counts"], manifest["schema"]):
        raise _damaged(archive, "its rows are not those of its manifest")


def _strangers(connection: sqlite3.Connection, schema: str) -> list[str]:
    """What a database holds that one of this schema does not: triggers and views, which would run with later reads and
    writes, unless they are letter for letter the schema's own; virtual tables; tables and indexes of other names.
    """
    objects = "SELECT type, name, sql FROM sqlite_master"
    with tempfile.TemporaryDirectory() as folder:
        ours = make_engine(f"sqlite:///{folder}/{ROWS}")
        migrate(ours, schema)
        with ours.connect() as empty:
            known = {_object(*row) for row in empty.execute(text(objects))}
        ours.dispose()
    known.add(_object("table", "sqlite_", None))
    known.add(_object("index", "sqlite_", None))
    return sorted(
        f"{kind} {name}" for kind, name, made in connection.execute(objects) if _object(kind, name, made) not in known
    )


def _object(kind: str, name: str, made: str | None) -> tuple[str, str, str]:
    """What two objects of a database must have in common to be the same; SQLite's own (statistics, keys) are one."""
    words = " ".join((made or "").split())
    if kind in ("table", "index"):  # their text differs with the edition of the program that wrote them
        virtual = words.upper().startswith("CREATE VIRTUAL")
        return kind, "sqlite_" if name.startswith("sqlite_") else name, "virtual" if virtual else ""
    return kind, name, words


def _held(home: Path, work: Path) -> list[str]:
    return [entry.name for entry in home.iterdir() if entry.name not in LOCKS and entry != work]


def _has_rows(engine: Engine) -> bool:
    if engine.dialect.name == "sqlite":
        return Path(str(engine.url.database)).exists()
    if schema_of(engine) is None:
        return False
    migrate(engine)
    with reading(engine).connect() as connection:
        counts = count_rows(connection)
    return any(number for table, number in counts.items() if table != Salt.__tablename__)  # an empty store has some


def _refuse_company(engine: Engine) -> None:
    """A server on another host has another home, but the same database."""
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    engine.dispose()  # none of these is this process's own
    with reading(engine).connect() as connection:
        number = connection.execute(text(others)).scalar_one()
    if number:
        raise Problem(
            f"The database at {engine.url.render_as_string()} is in use: {number} other connections.",
            hint="Stop every `ratchet serve` on it first.",
        )


def _put_rows(rows: Path, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        target = Path(str(engine.url.database))
        for end in ("-wal", "-shm"):  # of the database that goes
            target.with_name(target.name + end).unlink(missing_ok=True)
        new = target.with_name(f".{target.name}.restored")
        shutil.move(rows, new)
        new.chmod(OWNER_FILE)
        new.replace(target)
        migrate(engine)
        return
    old = make_engine(f"sqlite:///{rows}")
    migrate(old)
    migrate(engine)
    with reading(old).connect() as source, engine.begin() as connection:
        clear(connection)
        copy_rows(source, connection)
    old.dispose()
