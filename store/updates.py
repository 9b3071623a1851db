"""Updates: one row a run of the offline job, with its steps; and the lock that lets only one run at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import check_choice, known
from store.database import Store
from store.engines import NAME, UPDATING
from store.schema import Update, Version, now

# candidate: passed, but its parent serves no more; failed: a step cannot be done; discarded: ended by hand.
VERDICTS = ("promoted", "canary", "candidate", "rejected", "nothing", "failed", "discarded")
JUDGED = ("promoted", "canary", "candidate", "rejected")  # whose report names the dataset that was learned from
STEP_STATUSES = ("running", "done", "failed")
# PostgreSQL keeps a 64-bit key in two halves.
OWNER = f"""
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = a.datid
AND l.classid = {UPDATING >> 32} AND l.objid = {UPDATING & 0xFFFFFFFF}
"""


def start_update(session: Session, *, algorithm: str, seed: int, settings: Mapping[str, Any]) -> Update:
    """Begin an update; `settings` is what it runs with, as JSON, so that a resumed run is the same run.

    Raises:
        Problem: an earlier update is unfinished.
    """
    earlier = unfinished(session)
    if earlier is not None:
        raise Problem(
            f"Update {earlier.id} is unfinished.",
            hint="Go on with it by `ratchet update`, or end it by `ratchet update --discard`.",
        )
    update = Update(algorithm=algorithm, seed=seed, settings=dict(settings), steps=[])
    session.add(update)
    session.flush()
    return update


def record_step(session: Session, update_id: int, step: str, status: str, detail: Mapping[str, Any]) -> Update:
    """Record how a step stands (running, done or failed); a step recorded again keeps its place in the list.

    Raises:
        Problem: unknown update or status, or the update is finished.
    """
    check_choice(status, STEP_STATUSES, "status of a step")
    update = _open(session, update_id)
    entry = {"step": step, "status": status, "detail": dict(detail), "at": now().isoformat()}
    steps = list(update.steps)
    place = next((index for index, each in enumerate(steps) if each["step"] == step), len(steps))
    steps[place : place + 1] = [entry]
    update.steps = steps
    session.flush()
    return update


def finish_update(
    session: Session, update_id: int, verdict: str, version_id: int | None, report: Mapping[str, Any]
) -> Update:
    """End an update with its verdict (one of `VERDICTS`) and the version it made, if any.

    Args:
        report: of a verdict in `JUDGED` at least `dataset`, the hash; of the others at least `why`.

    Raises:
        Problem: unknown update, version or verdict, or the update is finished.
    """
    check_choice(verdict, VERDICTS, "verdict")
    update = _open(session, update_id)
    if version_id is not None:
        known(session, Version, version_id, "version")
    update.verdict, update.version_id, update.report, update.finished = verdict, version_id, dict(report), now()
    session.flush()
    return update


def unfinished(session: Session) -> Update | None:
    """The update that was started and has no verdict yet, if any."""
    return session.scalar(select(Update).where(Update.finished.is_(None)).order_by(Update.id.desc()).limit(1))


def last_dataset(session: Session) -> str | None:
    """Hash of the dataset that the last update with a verdict in `JUDGED` learned from; None without one."""
    query = select(Update.report).where(Update.verdict.in_(JUDGED)).order_by(Update.id.desc()).limit(1)
    report = session.scalar(query)
    return report.get("dataset") if report else None


def discard_update(store: Store, who: str) -> int:
    """End the unfinished update by hand; its ratings, which stay in the store, are there for the next one.

    What its steps had not finished is removed from the disk. Returns the update's number.

    Raises:
        Problem: an update is running, or none is unfinished (status 3).
    """
    with update_lock(store):
        with store.session() as session:
            begun = unfinished(session)
            if begun is None:
                raise Problem("No update is unfinished.", hint="Begin one with `ratchet update`.", status=3)
            finish_update(session, begun.id, "discarded", None, {"why": f"discarded by {who}"})
        for half_done in (store.home / "updates" / str(begun.id)).glob("*.tmp"):
            shutil.rmtree(half_done)
    return begun.id


def list_updates(session: Session) -> list[Update]:
    """Every update, by id."""
    return list(session.scalars(select(Update).order_by(Update.id)))


@contextmanager
def update_lock(store: Store) -> Iterator[None]:
    """Hold the right to run an update of this store; it is given back when the process dies, however it dies.

    On PostgreSQL the right holds for every host: an advisory lock lives as long as its connection.

    Raises:
        Problem: another process holds it (its pid is named, and its host on PostgreSQL).
    """
    folder = store.home / "updates"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise _running(f"process {handle.read().strip() or 'unknown'}") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        with _lock_of_all_hosts(store):
            yield


@contextmanager
def _lock_of_all_hosts(store: Store) -> Iterator[None]:
    if store.engine.dialect.name != "postgresql":
        yield
        return
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    # No transaction stands open while the update runs, which may be hours.
    with store.engine.execution_options(isolation_level="AUTOCOMMIT", reading=True).connect() as connection:
        connection.exec_driver_sql("SELECT set_config('application_name', %s, false)", (f"{NAME}: {owner}"[:63],))
        try:
            if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({UPDATING})").scalar():
                name = connection.exec_driver_sql(OWNER).scalar()
                raise _running(str(name or "unknown").removeprefix(f"{NAME}: "))
            yield
        finally:
            connection.invalidate()  # closed, not pooled: the lock goes with it


def _running(owner: str) -> Problem:
    return Problem(f"An update is running already ({owner}).", hint="Wait for it, or stop that process.")


def _open(session: Session, update_id: int) -> Update:
    update = known(session, Update, update_id, "update")
    if update.finished is not None:
        raise Problem(f"Update {update_id} is finished ({update.verdict}).", hint="Start another one.")
    return update
