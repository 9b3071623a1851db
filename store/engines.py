"""The two databases, each made to behave like the other: SQLite in a file, PostgreSQL on a server.

On both, those who write take turns. SQLite has one writer by nature; a transaction that reads first and writes later
fails there at once when another has written in between, so the turn is taken at the start (BEGIN IMMEDIATE). PostgreSQL
would let two transactions read the same state and both act on it (two promotions from one version, two imports of one
file), so the turn is an advisory lock, held from the first statement to the commit, by every process on every host.
Those who only read wait for nobody, and see one state of the database from their first statement to the last.
"""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from problems import Problem

BUSY_SECONDS: float = 30
VANISHED_SECONDS = 120  # after which PostgreSQL ends the turn of a writer that says nothing more
NAME = "ratchet"  # by which PostgreSQL's own views know these connections

# Keys of PostgreSQL's advisory locks, a name space of each database: "ratchet" in ASCII and a number.
WRITING = int.from_bytes(b"ratchet\x01", "big")
UPDATING = int.from_bytes(b"ratchet\x02", "big")


def make_engine(url: str | URL) -> Engine:
    """An engine for the database at `url`; nothing is opened yet.

    `postgres://` and `postgresql://` mean psycopg 3.

    Raises:
        Problem: the URL is none, or its database's driver is not installed.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() == "postgresql":
            return _postgresql(parsed)
    except (ArgumentError, NoSuchModuleError) as error:
        raise Problem(
            f"The database URL cannot be used: {error}",
            hint="Give a URL such as postgresql://user@host/name or sqlite:////path/file.db.",
        ) from None
    except ModuleNotFoundError as error:
        raise Problem(
            f"The database's driver is missing: {error}.", hint="Install it: pip install 'ratchet[postgres]'."
        ) from None
    raise Problem(
        f"The database URL cannot be used: {parsed.get_backend_name()} is not supported.",
        hint="Give a URL such as postgresql://user@host/name or sqlite:////path/file.db.",
    )


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read: no turn is taken, and one state is seen throughout."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(reading=True, isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(reading=True)


def compact(engine: Engine) -> None:
    """Rewrite the database's files without what was deleted; on SQLite its log is emptied as well.

    Raises:
        Problem: somebody reads or writes without a pause for longer than 30 seconds.
    """
    if engine.dialect.name == "postgresql":
        with engine.execution_options(reading=True, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM FULL")
        return
    raw = engine.raw_connection()  # one of SQLAlchemy's begins a transaction, in which neither command may stand
    try:
        cursor = raw.cursor()
        cursor.execute("VACUUM")
        deadline = time.monotonic() + BUSY_SECONDS
        while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise Problem(
                    "The database is read without a pause: deleted words may stand in its log.",
                    hint="Stop what reads it for long, then try again.",
                )
            time.sleep(0.05)
    except sqlite3.Error as error:
        raise Problem(f"The database cannot be compacted: {error}.", hint="Try again later.") from error
    finally:
        raw.close()


def _sqlite(url: URL) -> Engine:
    # One connection a working thread; each is a file handle.
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=16, max_overflow=48)
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
    takes_turn = not connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if takes_turn else "BEGIN")


def _postgresql(url: URL) -> Engine:
    engine = create_engine(
        url,
        connect_args={"fallback_application_name": NAME},
        json_serializer=_plain_json,
        # Each statement of a writer must see what was committed before its turn came.
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
    )
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _plain_json(value: Any) -> str:
    """JSON without NaN and infinity, which PostgreSQL refuses: they become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None))


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {int(BUSY_SECONDS * 1000)}")
        # A server may be set to acknowledge commits that are not on its disk yet; a rating is acknowledged after.
        cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql(
            f"SELECT set_config('idle_in_transaction_session_timeout', '{VANISHED_SECONDS}s', true), "
            f"pg_advisory_xact_lock({WRITING})"
        )
