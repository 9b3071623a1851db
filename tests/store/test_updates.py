from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from problems import Problem
from store.database import Store
from store.updates import finish_update, list_updates, record_step, start_update, unfinished, update_lock

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from store.database import open_store
from store.updates import update_lock
with update_lock(open_store(Path(sys.argv[1]), sys.argv[2] or None)):
    print("held", flush=True)
    time.sleep(60)
"""


def start(store: Store) -> int:
    with store.session() as session:
        return start_update(session, algorithm="ppo", seed=2**40, settings={"rounds": 3}).id


def test_a_figure_that_is_unknown_can_be_recorded(store: Store) -> None:
    update = start(store)
    with store.session() as session:
        record_step(session, update, "reward", "done", {"accuracy": math.nan, "bins": [{"high": math.inf}], "n": 0})
    with store.session(reading=True) as session:
        found = unfinished(session)
        assert found is not None
        detail = found.steps[0]["detail"]
    assert detail["n"] == 0
    assert detail["accuracy"] is None or math.isnan(detail["accuracy"])


def test_steps_keep_their_place_when_recorded_again(store: Store) -> None:
    update = start(store)
    for step, status in (("freeze", "running"), ("reward", "running"), ("freeze", "done"), ("reward", "failed")):
        with store.session() as session:
            record_step(session, update, step, status, {"rows": 3})
    with store.session(reading=True) as session:
        found = unfinished(session)
    assert found is not None
    assert (found.id, found.seed, found.settings) == (update, 2**40, {"rounds": 3})
    assert [(each["step"], each["status"], each["detail"]) for each in found.steps] == [
        ("freeze", "done", {"rows": 3}),
        ("reward", "failed", {"rows": 3}),
    ]


def test_an_update_ends_once_and_another_begins_after_it(store: Store) -> None:
    update = start(store)
    with pytest.raises(Problem, match="unfinished"):
        start(store)
    with store.session() as session:
        finish_update(session, update, "rejected", None, {"checks": [{"name": "better", "passed": False}]})
    with store.session(reading=True) as session:
        assert unfinished(session) is None
        done = list_updates(session)[0]
    assert (done.verdict, done.report) == ("rejected", {"checks": [{"name": "better", "passed": False}]})
    assert done.finished is not None
    for call in (
        lambda session: record_step(session, update, "freeze", "done", {}),
        lambda session: finish_update(session, update, "promoted", None, {}),
        lambda session: record_step(session, 99, "freeze", "done", {}),
    ):
        with pytest.raises(Problem), store.session() as session:
            call(session)
    assert start(store) == update + 1


def test_unknown_statuses_verdicts_and_versions_are_refused(store: Store) -> None:
    update = start(store)
    for call in (
        lambda session: record_step(session, update, "freeze", "so-so", {}),
        lambda session: finish_update(session, update, "grand", None, {}),
        lambda session: finish_update(session, update, "promoted", 7, {}),
    ):
        with pytest.raises(Problem), store.session() as session:
            call(session)


@pytest.mark.parametrize("home", ["home", "home of another host"])
def test_the_lock_names_its_owner_and_dies_with_it(tmp_path: Path, store: Store, url: str | None, home: str) -> None:
    if url is None:
        home = "home"  # a file is locked where it lies
    command = [sys.executable, "-c", HOLD, str(tmp_path / home), url or ""]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(Problem, match=f"process {owner.pid}"), update_lock(store):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    for _ in range(200):  # the server notices the end of a connection soon, not at once
        with contextlib.suppress(Problem), update_lock(store):
            with pytest.raises(Problem), update_lock(store):
                pass
            return
        time.sleep(0.05)
    raise AssertionError("the lock outlived its owner")
