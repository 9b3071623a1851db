from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from problems import Problem
from store.conversations import person
from store.database import Store
from store.group import LIMIT, Group
from store.ratings import rate
from store.schema import Person, Rating

from .conftest import Scene


@pytest.fixture
def group(store: Store) -> Iterator[Group]:
    made = Group(store)
    yield made
    made.close()


class Gate:
    """A write that holds its transaction open until it is let go, so that others gather behind it."""

    def __init__(self, group: Group) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.future = group.submit(self._work)
        assert self.begun.wait(10)

    def _work(self, session: Session) -> str:
        self.begun.set()
        assert self.free.wait(10)
        return "through"


class Commits:
    """The store's own transactions, counted, and looked at (or made to fail) just before each commit."""

    def __init__(self, store: Store, before: Callable[[], None] = lambda: None) -> None:
        self.number, self.before = 0, before
        self._session = store.session

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self._session() as session:
            yield session
            self.before()
            self.number += 1


def names(store: Store) -> set[str | None]:
    with store.session(reading=True) as session:
        return {each.name for each in session.scalars(select(Person))}


def test_what_arrives_during_a_commit_is_committed_together(
    store: Store, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Commits(store)
    monkeypatch.setattr(store, "session", seen.session)
    gate = Gate(group)
    futures = [group.submit(lambda session, name=name: person(session, None, name).name) for name in "abcdefgh"]
    assert not any(each.done() for each in futures)
    gate.free.set()
    assert [each.result(10) for each in futures] == list("abcdefgh")
    assert gate.future.result(10) == "through"
    assert seen.number == 2
    monkeypatch.undo()
    assert names(store) == set("abcdefgh")


def test_nobody_is_told_before_the_commit(store: Store, group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[bool]] = []
    futures: list[Future[str]] = []
    seen = Commits(store, lambda: told.append([each.done() for each in futures]))
    monkeypatch.setattr(store, "session", seen.session)
    gate = Gate(group)
    futures += [group.submit(lambda session, name=name: person(session, None, name).id) for name in "abc"]
    gate.free.set()
    wait(futures, 10)
    assert told == [[False] * 3] * 2


def test_a_bad_one_fails_alone_and_leaves_nothing(scene: Scene) -> None:
    group = Group(scene.store)
    ann = scene.person("ann")
    answer = scene.answer(ann, "Q", "a")
    gate = Gate(group)

    def give(value: object) -> Callable[[Session], object]:
        def work(session: Session) -> int:
            person(session, None, f"rater {value}")
            return rate(
                session, generation_id=answer, person_id=ann, kind="score", value=value, surface="api"
            ).id  # fmt: skip

        return work

    def breaks_a_key(session: Session) -> None:
        session.add(Rating(generation_id="gen-0", person_id=ann, kind="thumb", value=1, surface="api"))
        session.flush()

    futures = [group.submit(work) for work in (give(3), give(11), breaks_a_key, give(4))]
    gate.free.set()
    wait(futures, 10)
    assert isinstance(futures[1].exception(), Problem)
    assert "IntegrityError" in type(futures[2].exception()).__name__
    group.close()
    with scene.store.session(reading=True) as session:
        kept = {each.id: each.value for each in session.scalars(select(Rating))}
    assert kept == {futures[0].result(): 3, futures[3].result(): 4}
    assert names(scene.store) == {"ann", "rater 3", "rater 4"}


def test_a_commit_that_fails_fails_all_of_it_and_the_next_one_works(
    store: Store, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        if seen.number == 1:
            seen.number += 1
            raise Problem("The disk is full.")

    seen = Commits(store, refuse)
    monkeypatch.setattr(store, "session", seen.session)
    gate = Gate(group)
    futures = [group.submit(lambda session, name=name: person(session, None, name).id) for name in "ab"]
    gate.free.set()
    assert gate.future.result(10) == "through"
    for each in futures:
        with pytest.raises(Problem, match="full"):
            each.result(10)
    assert group.submit(lambda session: person(session, None, "c").name).result(10) == "c"
    monkeypatch.undo()
    assert names(store) == {"c"}


def test_a_crowd_is_written_in_turns_that_end(store: Store, group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Commits(store)
    monkeypatch.setattr(store, "session", seen.session)
    gate = Gate(group)
    futures = [group.submit(lambda session: None) for _ in range(2 * LIMIT + 1)]
    gate.free.set()
    wait(futures, 10)
    assert seen.number == 4


def test_closing_writes_what_was_submitted_and_takes_nothing_more(store: Store) -> None:
    group = Group(store)
    gate = Gate(group)
    futures = [group.submit(lambda session, name=name: person(session, None, name).name) for name in "ab"]
    gate.free.set()
    group.close()
    group.close()
    assert [each.result(0) for each in futures] == ["a", "b"]
    with pytest.raises(Problem, match="stopping"):
        group.submit(lambda session: None)
    Group(store).close()
