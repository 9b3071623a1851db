"""Group commit: what many callers write at the same time goes to the disk together, and each is told after that.

A commit costs a wait for the disk however little it holds. While one is on its way, the writes that arrive gather, and
the next commit takes them all. Nobody waits for others to come: a write that arrives alone is committed alone.
(DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.)
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from problems import Problem
from store.database import Store

LIMIT = 128  # writes in one transaction, so that a crowd does not keep other writers from their turn for long

T = TypeVar("T")


@dataclass(frozen=True)
class _Write:
    work: Callable[[Session], Any]
    future: Future[Any]


_End = tuple[_Write, Any, Exception | None]


class Group:
    """The thread that writes for others. Begins with the first write; `close` ends it when all are written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[Session], T]) -> Future[T]:
        """Have `work` done in a transaction; the future ends once that is committed, and on disk.

        `work` gets a session that others use before and after it, and writes through it as in `Store.session`, briefly.
        What it raises undoes what it wrote, is raised by the future, and touches nobody else's write; the others' work
        is undone and done again then, so it must do nothing but write there. When the commit itself fails, every write
        in it fails with that error.

        Raises:
            Problem: the group is closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise Problem("Nothing more is written: the server is stopping.", hint="Try again when it runs.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()
            self._waiting.put(_Write(work, future))
        return future

    def close(self) -> None:
        """Write what was submitted, then end the thread."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                self._waiting.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch: list[_Write] = []
            while len(batch) < LIMIT:
                try:
                    write = self._waiting.get(block=not batch)
                except queue.Empty:
                    break
                if write is None:
                    going_on = False
                    break
                if write.future.set_running_or_notify_cancel():
                    batch.append(write)
            if batch:
                self._commit(batch)

    def _commit(self, batch: list[_Write]) -> None:
        results: list[Any] = []
        try:
            with self._store.session() as session:
                results += [write.work(session) for write in batch]
        except Exception as error:
            if len(batch) == 1 or len(results) == len(batch):
                # Alone, or at the commit, which may even have taken place: it is not tried again.
                self._tell([(write, None, error) for write in batch])
            else:
                self._commit_apart(batch)
        else:
            self._tell([(write, result, None) for write, result in zip(batch, results, strict=True)])

    def _commit_apart(self, batch: list[_Write]) -> None:
        """Do it again, after one of them failed and all were undone: now each behind its own savepoint."""
        ends: list[_End] = []
        try:
            with self._store.session() as session:
                for write in batch:
                    try:
                        with session.begin_nested():
                            result = write.work(session)
                    except Exception as error:
                        ends.append((write, None, error))
                    else:
                        ends.append((write, result, None))
        except Exception as error:
            ends = [(write, None, error) for write in batch]
        self._tell(ends)

    def _tell(self, ends: list[_End]) -> None:
        for write, result, failure in ends:
            if failure is None:
                write.future.set_result(result)
            else:
                write.future.set_exception(failure)
