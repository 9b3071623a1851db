"""Backups that somebody else made or changed, and the rights of what a store writes."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from problems import Problem
from store.backup import ROWS, backup
from store.database import keep_private, open_store
from store.restore import restore

from .conftest import Scene
from .test_restore import altered


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A backup of a small store."""
    store = open_store(tmp_path / "first")
    scene = Scene(store)
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "a"), ann, "thumb", 1)
    backup(store, tmp_path / "store.tar")
    store.close()
    return tmp_path / "store.tar"


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON ratings BEGIN DELETE FROM people; END",
        "CREATE VIEW evil AS SELECT * FROM messages",
        "DROP VIEW present_ratings; CREATE VIEW present_ratings AS SELECT * FROM ratings WHERE value = 1",
        "CREATE TABLE evil (a)",
        "CREATE VIRTUAL TABLE evil USING fts5(a)",
        "CREATE UNIQUE INDEX evil ON ratings (kind)",
    ],
)
def test_a_database_with_something_of_its_own_is_refused(archive: Path, tmp_path: Path, statement: str) -> None:
    def change(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        rows = tmp_path / "rows.db"
        rows.write_bytes(files[ROWS])
        with closing(sqlite3.connect(rows)) as connection:
            connection.executescript(statement)
        files[ROWS] = rows.read_bytes()
        manifest["files"][ROWS]["sha256"] = hashlib.sha256(files[ROWS]).hexdigest()

    with pytest.raises(Problem, match="holds what no store does"):
        restore(altered(archive, change), tmp_path / "second")
    assert not (tmp_path / "second" / ROWS).exists()
    restore(archive, tmp_path / "second")


@pytest.mark.parametrize(
    "name", ["ratchet.toml", "updates", ".bashrc", "ratchet.db-wal", "ratchet.db/x", "other/x", "in-use.lock", "a\0b"]
)
def test_a_name_that_no_backup_writes_is_refused(archive: Path, tmp_path: Path, name: str) -> None:
    def change(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files[name] = b"x"
        manifest["files"][name] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}

    with pytest.raises(Problem, match="cannot be restored"):
        restore(altered(archive, change), tmp_path / "second")
    assert sorted(each.name for each in (tmp_path / "second").iterdir()) == ["in-use.lock"]


def test_a_store_and_its_backups_are_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    before = os.umask(0o022)
    try:
        store = open_store(home)
        Scene(store).person("ann")
        backup(store, tmp_path / "store.tar")
        assert rights(home) == 0o700
        assert {rights(each) for each in home.glob("ratchet.db*")} == {0o600}
        assert rights(tmp_path / "store.tar") == 0o600
        store.close()
        home.chmod(0o755)  # as an earlier edition left it
        (home / ROWS).chmod(0o644)
        open_store(home).close()
        assert rights(home) == 0o700
        assert rights(home / ROWS) == 0o600
        restore(tmp_path / "store.tar", tmp_path / "second")
        assert rights(tmp_path / "second") == 0o700
        assert rights(tmp_path / "second" / ROWS) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("shared", [lambda folder: folder.chmod(0o1777), lambda folder: (folder / "mine").touch()])
def test_a_folder_that_is_not_the_stores_alone_is_left_and_named(
    tmp_path: Path, shared: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    shared(folder)
    before = rights(folder)
    with caplog.at_level(logging.WARNING):
        keep_private(folder)
    assert rights(folder) == before
    assert "others on this machine may read" in caplog.text
