"""An acknowledged rating is there afterwards, whenever the process is killed."""

from __future__ import annotations

import importlib
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import select

from store.database import open_store
from store.ratings import present
from store.schema import Rating

from .conftest import Scene

ROOT = Path(__file__).parents[2]
RATE = """
import sys
from itertools import count
from pathlib import Path
from store.database import open_store
from store.ratings import rate

store = open_store(Path(sys.argv[1]), sys.argv[4] if len(sys.argv) > 4 else None)
generation, person = sys.argv[2:4]
for number in count():
    with store.session() as session:
        event = rate(session, generation_id=generation, person_id=person, kind="comment", value=f"event {number}",
                     surface="api")
    print(event.id, number, flush=True)
"""


@pytest.mark.parametrize("milliseconds", [0, 7, 40, 150])
def test_killed_at_any_moment(tmp_path: Path, milliseconds: int) -> None:
    store = open_store(tmp_path)
    scene = Scene(store)
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    with subprocess.Popen(
        [sys.executable, "-c", RATE, str(tmp_path), answer, ann], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as rater:
        assert rater.stdout is not None
        first = rater.stdout.readline()
        threading.Timer(milliseconds / 1000, rater.send_signal, [signal.SIGKILL]).start()
        acknowledged = [line.split() for line in [first, *rater.stdout] if line.endswith("\n")]
        assert rater.wait() == -signal.SIGKILL
    store.close()

    connection = sqlite3.connect(tmp_path / "ratchet.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = dict(connection.execute("SELECT id, value FROM ratings"))
    connection.close()
    assert acknowledged
    assert {int(id): f'"event {number}"' for id, number in acknowledged}.items() <= kept.items()
    assert len(kept) <= len(acknowledged) + 1

    reopened = open_store(tmp_path)
    with reopened.session(reading=True) as session:
        assert [each.value for each in present(session, answer, ann)] == [f"event {len(kept) - 1}"]
    reopened.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """bench/durability.py, of which this is the short form."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("durability")


def test_threads_that_write_together_are_killed_five_times(tmp_path: Path, bench: ModuleType) -> None:
    losses = bench.kill_writers(tmp_path, kills=5, threads=4, seed=1)
    assert losses.acknowledged >= 5
    assert (losses.lost, losses.torn, losses.integrity) == (0, 0, "ok")


def test_a_writer_killed_on_postgresql_loses_nothing(tmp_path: Path, postgres_url: str) -> None:
    store = open_store(tmp_path, postgres_url)
    scene = Scene(store)
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    with subprocess.Popen(
        [sys.executable, "-c", RATE, str(tmp_path), answer, ann, postgres_url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as rater:
        assert rater.stdout is not None
        first = rater.stdout.readline()
        threading.Timer(0.05, rater.send_signal, [signal.SIGKILL]).start()
        acknowledged = [line.split() for line in [first, *rater.stdout] if line.endswith("\n")]
        assert rater.wait() == -signal.SIGKILL
    with store.session(reading=True) as session:
        kept = {each.id: each.value for each in session.scalars(select(Rating))}
    store.close()
    assert acknowledged
    assert {int(id): f"event {number}" for id, number in acknowledged}.items() <= kept.items()
