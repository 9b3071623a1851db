from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from problems import Problem
from store.backup import MANIFEST, ROWS, backup
from store.database import Store, migrate, open_store
from store.datasets import freeze
from store.keys import add_key
from store.restore import restore
from store.schema import Generation, Version

from .conftest import Scene
from .test_backup import add_update

ADAPTER = "updates/1/train/adapter/adapter_model.safetensors"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A backup of a small store in SQLite."""
    store = open_store(tmp_path / "first")
    scene = Scene(store)
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "a"), ann, "thumb", 1)
    add_update(store)
    backup(store, tmp_path / "store.tar")
    store.close()
    return tmp_path / "store.tar"


def altered(archive: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """The archive with its files and its manifest changed."""
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member)
            assert content is not None
            files[member.name] = content.read()
    manifest = json.loads(files.pop(MANIFEST))
    change(files, manifest)
    out = archive.with_name("altered.tar")
    with tarfile.open(out, "w") as tar:
        for name, data in [*files.items(), (MANIFEST, json.dumps(manifest).encode())]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out


@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
def test_what_was_backed_up_comes_back_in_either_database(
    tmp_path: Path, url: str | None, source: str, postgres_url: str
) -> None:
    """PostgreSQL to PostgreSQL is a store that is given up for its own backup."""
    first = open_store(tmp_path / "first", postgres_url if source == "postgresql" else None)
    scene = Scene(first)
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "a"), ann, "thumb", 1)
    add_update(first)
    with first.session(reading=True) as session:
        dataset = freeze(session, seed=0)
    backup(first, tmp_path / "store.tar")
    scene.rate(scene.answer(ann, "R", "later"), ann, "thumb", 1)
    first.close()

    report = restore(tmp_path / "store.tar", tmp_path / "second", url, replace=url is not None)
    assert (report.counts["ratings"], report.files) == (1, 2)
    second = open_store(tmp_path / "second", url)
    with second.session(reading=True) as session:
        assert freeze(session, seed=0) == dataset
        version = session.get_one(Version, 1)
        assert (second.home / str(version.adapter) / Path(ADAPTER).name).read_bytes() == bytes(range(256)) * 40
    assert Scene(second).rate(Scene(second).answer(ann, "Q", "b"), ann, "thumb", 1) == 2
    second.close()
    assert sorted(each.name for each in (tmp_path / "second").iterdir() if each.name.startswith(".")) == []


@pytest.mark.parametrize("schema", ["0002", "0003"])
def test_a_backup_of_an_older_schema_comes_back_and_is_migrated(tmp_path: Path, url: str | None, schema: str) -> None:
    old = open_store(tmp_path / "old")
    scene = Scene(old)
    ann = scene.person("ann")
    answers = [scene.answer(ann, "Q", text, draw="thompson") for text in "ab"]
    scene.rate(answers[0], ann, "pair", "left", answers[1])
    migrate(old.engine, schema)
    assert ("keys" in backup(old, tmp_path / "old.tar").counts) == (schema > "0002")
    old.close()
    assert restore(tmp_path / "old.tar", tmp_path / "new", url, replace=url is not None).schema == schema
    new = open_store(tmp_path / "new", url)
    with new.session() as session:
        assert add_key(session, "ann's", person_id=ann)[0].person_id == ann
        assert [session.get_one(Generation, each).draw for each in answers] == [None, None]
        assert [pair.draw for pair in freeze(session, seed=0).pairs] == ["uniform"]
    new.close()


def test_a_home_that_holds_a_store_is_replaced_only_on_demand(archive: Path, store: Store, url: str | None) -> None:
    scene = Scene(store)
    bob = scene.person("bob")
    scene.answer(bob, "R", "to be given up")
    (store.home / "updates" / "9").mkdir(parents=True)
    store.close()
    with pytest.raises(Problem, match="already") as caught:
        restore(archive, store.home, url)
    assert "--replace" in caught.value.hint
    restore(archive, store.home, url, replace=True)
    opened = open_store(store.home, url)
    with opened.session(reading=True) as session:
        assert [each.messages[0]["content"] for each in freeze(session, seed=0).prompts] == ["Q"]
    opened.close()
    assert not (store.home / "updates" / "9").exists()
    assert (store.home / ADAPTER).exists()


def test_a_store_in_use_is_left_alone(archive: Path, store: Store, url: str | None, tmp_path: Path) -> None:
    scene = Scene(store)
    scene.person("bob")
    homes = [store.home] if url is None else [store.home, tmp_path / "home of another host"]
    for home in homes:
        with pytest.raises(Problem, match="in use"):
            restore(archive, home, url, replace=True)
    assert scene.person("bob")


@pytest.mark.parametrize("cut", [0, 600, 40_000, -11_000])
def test_an_archive_that_was_cut_off_is_refused(archive: Path, tmp_path: Path, cut: int) -> None:
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(Problem, match="cannot be restored"):
        restore(archive, tmp_path / "home")
    assert not (tmp_path / "home" / ROWS).exists()


def test_an_archive_that_was_changed_is_refused_and_the_store_stays(archive: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    Scene(store).person("bob")
    store.close()
    before = sorted(each.name for each in (tmp_path / "home").iterdir())
    rows = (tmp_path / "home" / ROWS).read_bytes()

    def flip(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files[ADAPTER] = b"x" + files[ADAPTER][1:]

    def lose(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        del files[ADAPTER]

    def add(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files["updates/1/more"] = b"x"

    def count(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["counts"]["ratings"] = 2

    def newer(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["schema"] = "9999"

    def no_schema(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        del manifest["schema"]

    for change, said in (
        (flip, "not what was backed up"),
        (lose, "not those of its manifest"),
        (add, "not those of its manifest"),
        (count, "rows are not those"),
        (newer, "newer Ratchet"),
        (no_schema, "no whole backup"),
    ):
        with pytest.raises(Problem, match=said):
            restore(altered(archive, change), tmp_path / "home", replace=True)
    assert sorted(each.name for each in (tmp_path / "home").iterdir()) == before
    assert (tmp_path / "home" / ROWS).read_bytes() == rows


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "updates/../../outside", "in-use.lock"])
def test_a_file_that_would_land_elsewhere_is_refused(archive: Path, tmp_path: Path, name: str) -> None:
    def add(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files[name] = files[ADAPTER]
        manifest["files"][name] = manifest["files"][ADAPTER]

    with pytest.raises(Problem, match="no file of a store"):
        restore(altered(archive, add), tmp_path / "home")
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/outside").exists()


def test_a_link_is_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo("updates/1/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(Problem, match="cannot be restored"):
        restore(archive, tmp_path / "home")


@pytest.mark.parametrize("content", [None, b"a letter, not an archive" * 100])
def test_what_is_no_archive_is_a_problem(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "file.tar"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Problem, match=r"file\.tar"):
        restore(file, tmp_path / "home")
