from __future__ import annotations

import json
import sqlite3
import tarfile
import threading
from pathlib import Path

import pytest

from problems import Problem
from store.backup import MANIFEST, ROWS, backup
from store.database import Store, known_schemas
from store.updates import start_update
from store.versions import add_version

from .conftest import Scene


def add_update(store: Store) -> None:
    """An update with its folder: a step that is done, with an adapter, and one that is being made."""
    with store.session() as session:
        update = start_update(session, algorithm="ppo", seed=0, settings={}).id
        adapter = f"updates/{update}/train/adapter"
        add_version(
            session, parent=0, adapter=adapter, adapter_hash="aa", update_id=update, dataset_hash="dd", report={}
        )
    folder = store.home / adapter
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    (store.home / "updates" / "lock").write_text("1")
    half = store.home / "updates" / str(update) / "gate.tmp"
    half.mkdir()
    (half / "step.json").write_text("{")
    (store.home / "reward").mkdir()
    (store.home / "reward" / "head.safetensors").write_bytes(b"not named by any row")


def test_an_archive_holds_rows_files_and_a_manifest_of_them(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "a"), ann, "thumb", 1)
    add_update(scene.store)
    out = tmp_path / "store.tar"
    report = backup(scene.store, out)
    assert (report.path, report.schema, report.files, report.missing) == (out, known_schemas()[0], 2, [])
    assert (report.counts["ratings"], report.counts["versions"], report.bytes) == (1, 2, out.stat().st_size)
    with tarfile.open(out) as tar:
        assert tar.getnames() == [ROWS, "updates/1/train/adapter/adapter_model.safetensors", MANIFEST]
        tar.extractall(tmp_path / "unpacked", filter="data")
    manifest = json.loads((tmp_path / "unpacked" / MANIFEST).read_text())
    assert manifest["counts"] == report.counts
    assert set(manifest["files"]) == {ROWS, "updates/1/train/adapter/adapter_model.safetensors"}
    assert manifest["database"] == scene.store.engine.dialect.name
    connection = sqlite3.connect(tmp_path / "unpacked" / ROWS)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT value FROM ratings").fetchall() == [(1,)]
    connection.close()
    assert [each.name for each in tmp_path.iterdir() if "store.tar" in each.name] == ["store.tar"]


def test_a_backup_taken_while_others_write_holds_all_that_was_acknowledged(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Q", "a")
    told: list[int] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            told.append(scene.rate(answer, ann, "score", 1 + len(told) % 10))

    writer = threading.Thread(target=write)
    writer.start()
    held: list[tuple[set[int], Path]] = []
    try:
        for number in range(3):
            while len(told) < 10 * (number + 1):
                pass
            before = set(told)
            out = tmp_path / f"{number}.tar"
            backup(scene.store, out)
            held.append((before, out))
    finally:
        stop.set()
        writer.join()
    for before, out in held:
        with tarfile.open(out) as tar:
            tar.extract(ROWS, tmp_path / out.stem, filter="data")
        connection = sqlite3.connect(tmp_path / out.stem / ROWS)
        kept = {row[0] for row in connection.execute("SELECT id FROM ratings")}
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        assert before <= kept
        assert kept == set(range(1, len(kept) + 1))


def test_what_the_rows_name_and_is_not_there_is_said(scene: Scene, tmp_path: Path) -> None:
    with scene.store.session() as session:
        add_version(
            session, parent=0, adapter="versions/gone", adapter_hash="aa", update_id=None, dataset_hash=None, report={}
        )
    assert backup(scene.store, tmp_path / "store.tar").missing == ["versions/gone"]


def test_a_backup_that_fails_leaves_the_earlier_one(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store.tar"
    out.write_text("earlier")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("store.backup.os.fsync", full)
    with pytest.raises(Problem, match="No space left"):
        backup(scene.store, out)
    assert out.read_text() == "earlier"
    assert [each.name for each in tmp_path.iterdir() if "store.tar" in each.name] == ["store.tar"]
    with pytest.raises(Problem, match="no folder"):
        backup(scene.store, tmp_path / "nowhere" / "store.tar")
