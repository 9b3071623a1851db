"""Opening the store: a folder with a database, migrated to the present schema; and its transactions.

The database is SQLite in the folder by default (write-ahead log, every commit forced to disk), or PostgreSQL at a URL.
What the two need to behave alike is in `store.engines`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DatabaseError, DataError, OperationalError
from sqlalchemy.orm import Session

from problems import Problem
from store import engines
from store.salts import FILE, forget_file, make_salts, salts_missing

log = logging.getLogger(__name__)

IN_USE = "in-use.lock"  # locked, shared, by every process that has the store open
OWNER_FOLDER, OWNER_FILE = 0o700, 0o600
OTHERS = 0o077  # the rights of the group and of everybody
MIGRATIONS = str(Path(__file__).parent / "migrations")


class StoreUnavailable(Problem):
    """The database is busy, full, read-only, damaged or out of reach. Its words name folders of the machine.

    Attributes:
        outside: what people at a page or an API are told instead.
    """

    outside = "the store is busy or cannot be used; the server's log says why"


class Store:
    """An open store. `session()` gives one transaction; safe to share between threads, one session a thread.

    Attributes:
        home: the folder that holds the database, adapters and updates.
        url: the database's SQLAlchemy URL, as text, without its password.
    """

    def __init__(self, home: Path, engine: Engine) -> None:
        self.home = home
        self._in_use = (home / IN_USE).open("a")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)  # waits for a restore to end
        self.url = engine.url.render_as_string(hide_password=True)
        self.engine = engine
        self._reader = engines.reading(engine)

    @contextmanager
    def session(self, *, reading: bool = False) -> Iterator[Session]:
        """One transaction: committed (and on disk) when the block ends, rolled back when it raises.

        A session takes the right to write at its first statement and keeps it to the end, so keep blocks short: never
        generate text inside one. `reading=True` neither waits for writers nor holds them up; nothing may be written in
        it. Objects stay readable after the block.

        Raises:
            Problem: the database is busy for longer than 30 seconds, full, read-only, damaged or out of reach, or
                cannot hold a value.
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
                raise explain(error, self.url) from error

    def compact(self) -> None:
        """Rewrite the database without what was deleted, so that no byte of it stays in the files.

        Raises:
            Problem: somebody else keeps the database busy.
        """
        try:
            engines.compact(self.engine)
        except DatabaseError as error:
            raise explain(error, self.url) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._in_use.close()


def open_store(home: Path, url: str | None = None) -> Store:
    """Open the store in `home` (made if missing), creating or migrating its database when needed.

    Args:
        home: the folder of the store; the database is `home/ratchet.db` unless `url` says otherwise.
        url: for example `postgresql://user@host/name`, or any SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        Problem: the folder cannot be made, the URL is wrong, its database is out of reach or none, or it is of a newer
            program.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=OWNER_FOLDER)
    except OSError as error:
        raise Problem(
            f"The folder {home} cannot be made: {error.strerror}.", hint="Choose another folder with --home."
        ) from None
    keep_private(home)
    engine = engines.make_engine(url or URL.create("sqlite", database=str(home.resolve() / "ratchet.db")))
    store = Store(home, engine)
    _keep_file_private(engine)
    try:
        with _migration_lock(home):
            migrate(engine)
            _ensure_salts(store)
    except DatabaseError as error:
        store.close()
        raise explain(error, store.url) from error
    except Problem:
        store.close()
        raise
    return store


def keep_private(home: Path) -> None:
    """Take others' rights to the folder away: it holds what people said. What lies in it is behind that door.

    Where that cannot be done (the folder is somebody else's, or on a disk without rights), or the folder is no store's
    alone, a warning says so.
    """
    mode = home.stat().st_mode
    if not mode & OTHERS:
        return
    names = {each.name for each in home.iterdir()}
    kept = False
    if not mode & stat.S_ISVTX and (not names or IN_USE in names):  # never the folder of others: /tmp, a checkout
        with contextlib.suppress(OSError):
            home.chmod(stat.S_IMODE(mode) & ~OTHERS)
            kept = not home.stat().st_mode & OTHERS
    if not kept:
        log.warning("others on this machine may read %s, where people's chats are; take their rights away", home)


def _keep_file_private(engine: Engine) -> None:
    """The same for the database's file, before it is filled; its log takes its rights."""
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file and not file.startswith((":", "file:")):
        with contextlib.suppress(OSError):  # `keep_private` has warned
            Path(file).touch(OWNER_FILE)
            Path(file).chmod(OWNER_FILE)


def _ensure_salts(store: Store) -> None:
    with store.session(reading=True) as session:
        missing = salts_missing(session)
    if missing:
        with store.session() as session:
            make_salts(session, store.home)
    if (store.home / FILE).exists():
        with store.session(reading=True) as session:
            forget_file(session, store.home)


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the database to `revision`, up or down (`base`: empty), in one transaction: all of it or nothing.

    Of many that begin at once, on however many hosts, one migrates; the others wait and find it done.

    Raises:
        Problem: the database holds a revision that this program does not know.
    """
    known = known_schemas()
    target = known[0] if revision == "head" else revision
    with engines.reading(engine).connect() as connection:
        if _present(connection, known) == target:
            return
    config = Config()
    config.set_main_option("script_location", MIGRATIONS.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:  # takes the turn to write
        config.attributes["connection"] = connection
        present = _present(connection, known)
        if target == "base" or (present is not None and known.index(target) > known.index(present)):
            command.downgrade(config, target)
        else:
            command.upgrade(config, target)


def known_schemas() -> list[str]:
    """The revisions that this program knows, the newest first."""
    return [entry.revision for entry in ScriptDirectory(MIGRATIONS).walk_revisions()]


def schema_of(engine: Engine) -> str | None:
    """The revision that the database is at; None when it is empty."""
    with engines.reading(engine).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _present(connection: Connection, known: list[str]) -> str | None:
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in known:
        raise Problem(
            f"The store at {connection.engine.url.render_as_string()} was written by a newer Ratchet: its schema is "
            f"{present}, this one knows up to {known[0]}.",
            hint="Update Ratchet, or open another folder with --home.",
        )
    return present


@contextmanager
def _migration_lock(home: Path) -> Iterator[None]:
    with (home / "migrate.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def explain(error: DatabaseError, url: str) -> Problem:
    """What a user is told of a database's failure."""
    reason = " ".join(str(error.orig).split())
    hints = {
        "locked": "Another process writes for too long; wait for it or stop it, then try again.",
        "lock timeout": "Another process writes for too long; wait for it or stop it, then try again.",
        "full": "Free some space on that disk and try again; nothing of this change was stored.",
        "No space left": "Free some space on that disk and try again; nothing of this change was stored.",
        "readonly": "Give this user the right to write there.",
        "permission denied": "Give this user the right to write there.",
        "not a database": "Restore the file from a backup, or open another folder with --home.",
        "malformed": "Restore the file from a backup, or open another folder with --home.",
        "connection": "Check that the server runs, and the address, name and password in RATCHET_DATABASE_URL.",
    }
    hint = next((text for word, text in hints.items() if word in reason), "Check the database and its address.")
    if isinstance(error, DataError):  # a value that no column can hold: the caller's fault, whom the address is no use
        return Problem(f"The store cannot hold this: {reason}.", hint="Leave out what is not text or numbers.")
    return StoreUnavailable(f"The store at {url} cannot be used: {reason}.", hint=hint)
