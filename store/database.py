"""Opening the store: a folder with a database in it, migrated to the present schema; and its transactions.

SQLite by default (write-ahead log, every commit forced to disk), any other SQLAlchemy URL by argument. This is the only
file that knows which database it is.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from problems import Problem

BUSY_SECONDS: float = 30


class Store:
    """An open store. `session()` gives one transaction; safe to share between threads, one session a thread.

    Attributes:
        home: the folder that holds the database, adapters and updates.
        url: the database's SQLAlchemy URL, as text, without its password.
    """

    def __init__(self, home: Path, engine: Engine) -> None:
        self.home = home
        self.url = engine.url.render_as_string(hide_password=True)
        self.engine = engine
        self._reader = engine.execution_options(reading=True)

    @contextmanager
    def session(self, *, reading: bool = False) -> Iterator[Session]:
        """One transaction: committed (and on disk) when the block ends, rolled back when it raises.

        A session takes the right to write at its first statement and keeps it to the end, so keep blocks short: never
        generate text inside one. `reading=True` neither waits for writers nor holds them up; nothing may be written in
        it. Objects stay readable after the block.

        Raises:
            Problem: the database is busy for longer than 30 seconds, full, read-only or damaged, or cannot hold a value
                (PostgreSQL: text with NUL).
        """
        with Session(
            self._reader if reading else self.engine, expire_on_commit=False, autoflush=not reading
        ) as session:
            try:
                yield session
                if reading and (session.new or session.dirty or session.deleted):
                    raise TypeError("a reading session cannot write: open it with session()")
                session.commit()
            except (OperationalError, DataError) as error:
                raise _explain(error, self.url) from error

    def compact(self) -> None:
        """Rewrite the database without what was deleted, so that no byte of it stays in the files.

        Raises:
            Problem: somebody else keeps the database busy.
        """
        outside = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            if self.engine.dialect.name != "sqlite":
                with outside.connect() as connection:
                    connection.exec_driver_sql("VACUUM FULL")
                return
            raw = self.engine.raw_connection()  # our BEGIN comes with SQLAlchemy's; neither command may stand in one
            try:
                cursor = raw.cursor()
                cursor.execute("VACUUM")
                deadline = time.monotonic() + BUSY_SECONDS
                while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    if time.monotonic() > deadline:
                        raise Problem(
                            f"The store at {self.url} is read without a pause: deleted words may stand in its log.",
                            hint="Stop what reads it for long, then try again.",
                        )
                    time.sleep(0.05)
            finally:
                raw.close()
        except DatabaseError as error:
            raise _explain(error, self.url) from error
        except sqlite3.Error as error:
            raise Problem(f"The store at {self.url} cannot be compacted: {error}.", hint="Try again later.") from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_store(home: Path, url: str | None = None) -> Store:
    """Open the store in `home` (made if missing), creating or migrating its database when needed.

    Args:
        home: the folder of the store; the database is `home/ratchet.db` unless `url` says otherwise.
        url: an SQLAlchemy URL, for example `postgresql+psycopg://user@host/name`.

    Raises:
        Problem: the folder cannot be made, the URL is wrong, the file is no database, or it is of a newer program.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(
            f"The folder {home} cannot be made: {error.strerror}.", hint="Choose another folder with --home."
        ) from None
    engine = _engine(url or URL.create("sqlite", database=str(home.resolve() / "ratchet.db")))
    store = Store(home, engine)
    try:
        with _migration_lock(home):
            migrate(engine)
    except DatabaseError as error:
        engine.dispose()
        raise _explain(error, store.url) from error
    except Problem:
        engine.dispose()
        raise
    return store


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the database to `revision`, up or down (`base`: empty), in one transaction: all of it or nothing.

    Raises:
        Problem: the database holds a revision that this program does not know.
    """
    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    known = [entry.revision for entry in script.walk_revisions()]
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in known:
        raise Problem(
            f"The store at {engine.url.render_as_string()} was written by a newer Ratchet: its schema is {present}, "
            f"this one knows up to {known[0]}.",
            hint="Update Ratchet, or open another folder with --home.",
        )
    target = known[0] if revision == "head" else revision
    if present == target:
        return
    config = Config()
    config.set_main_option("script_location", script.dir.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        downwards = target == "base" or (present is not None and known.index(target) > known.index(present))
        if downwards:
            command.downgrade(config, target)
        else:
            command.upgrade(config, target)


def _engine(url: str | URL) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
        # One connection a working thread; each is a file handle.
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, pool_size=16, max_overflow=48)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise Problem(
            f"The database URL cannot be used: {error}",
            hint="Give an SQLAlchemy URL such as sqlite:////path/file.db, and install that database's driver.",
        ) from None
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Python's sqlite3 would begin transactions on its own, late; here BEGIN is ours (see _begin_sqlite).
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another has written in between; taking the
    # write lock at the start makes it wait its turn instead.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _migration_lock(home: Path) -> Iterator[None]:
    with (home / "migrate.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _explain(error: DatabaseError, url: str) -> Problem:
    reason = str(error.orig)
    hints = {
        "locked": "Another process writes for too long; wait for it or stop it, then try again.",
        "full": "Free some space on that disk and try again; nothing of this change was stored.",
        "readonly": "Give this user the right to write there.",
        "not a database": "Restore the file from a backup, or open another folder with --home.",
        "malformed": "Restore the file from a backup, or open another folder with --home.",
        "NUL": "Send the text without the NUL character; SQLite could hold it.",
    }
    hint = next((text for word, text in hints.items() if word in reason), "Check the database and its address.")
    return Problem(f"The store at {url} cannot be used: {reason}.", hint=hint)
