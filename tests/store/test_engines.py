"""What two writers do at once has the same end on both databases; and what is said of URLs."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from problems import Problem
from store.conversations import person
from store.database import Store, open_store
from store.engines import make_engine
from store.imports import import_file
from store.ratings import present
from store.schema import Conversation, Person, Version
from store.updates import start_update
from store.versions import add_version, audit_trail, ensure_base, promote, promote_over, rollback, serving

from .conftest import Scene


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each returned or raised, all begun together, each in its thread."""
    start = threading.Barrier(len(calls))
    ends: list[Any] = [None] * len(calls)

    def work(place: int) -> None:
        start.wait()
        try:
            ends[place] = calls[place]()
        except Exception as error:
            ends[place] = error

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return ends


def test_a_name_is_one_person_however_many_bring_it(store: Store) -> None:
    def meet() -> str:
        with store.session() as session:
            return person(session, None, "ann").id

    assert len({*at_once(*[meet] * 8)}) == 1


def test_a_new_store_gets_one_base(store: Store) -> None:
    def begin() -> int:
        with store.session() as session:
            return ensure_base(session, "starter", "abc").id

    assert at_once(*[begin] * 6) == [0] * 6
    with store.session(reading=True) as session:
        assert len(audit_trail(session)) == 1


def test_each_change_of_what_serves_starts_from_the_one_before(scene: Scene) -> None:
    store = scene.store
    made = []
    for _ in range(6):
        with store.session() as session:
            made.append(
                add_version(
                    session, parent=0, adapter="versions/x", adapter_hash="a", update_id=None, dataset_hash=None,
                    report={},
                ).id
            )  # fmt: skip

    def promoted(version: int) -> None:
        with store.session() as session:
            promote(session, version, "ann", "race")

    def rolled_back() -> None:
        with store.session() as session:
            rollback(session, "ann")

    ends = at_once(*[lambda version=version: promoted(version) for version in made], rolled_back, rolled_back)
    assert [end for end in ends if end is not None and not isinstance(end, Problem)] == []
    with store.session(reading=True) as session:
        trail = audit_trail(session)
    assert [each.from_version for each in trail[1:]] == [each.to_version for each in trail[:-1]]


def test_a_candidate_never_serves_beside_another_version_than_it_was_compared_with(scene: Scene) -> None:
    store = scene.store

    def version(parent: int) -> int:
        with store.session() as session:
            return add_version(
                session, parent=parent, adapter="x", adapter_hash="a", update_id=None, dataset_hash=None, report={}
            ).id

    def ends(candidate: int, parent: int) -> int:
        with store.session() as session:
            return promote_over(session, candidate, parent, "gate", "won")

    def rolled_back() -> None:
        with store.session() as session:
            rollback(session, "ann")

    for _ in range(12):
        parent = version(0)
        with store.session() as session:
            promote(session, parent, "ann", "try")
        candidate = version(parent)
        moves = [lambda c=candidate, p=parent: ends(c, p), rolled_back]
        random.shuffle(moves)
        raised = [each for each in at_once(*moves) if isinstance(each, Exception)]
        assert raised == []
        with store.session() as session:
            trail = [(each.action, each.from_version, each.to_version) for each in audit_trail(session)][-2:]
            status = session.get_one(Version, candidate).status
            # Either the rollback came first and the candidate waits, or it served and was rolled back itself.
            over = ("promote", parent, candidate) in trail
            assert trail[-1] == ("rollback", candidate if over else parent, parent if over else 0)
            assert status == ("retired" if over else "candidate")
            while serving(session).id:
                rollback(session, "ann")


def test_a_candidate_waits_when_its_parent_serves_no_more(scene: Scene) -> None:
    with scene.store.session() as session:
        one, two = (
            add_version(
                session, parent=0, adapter="x", adapter_hash="a", update_id=None, dataset_hash=None, report={}
            ).id
            for _ in range(2)
        )
        promote(session, one, "ann", "by hand")
    with scene.store.session() as session:
        assert promote_over(session, two, 0, "gate", "won beside the base") == one
        assert session.get_one(Version, two).status == "candidate"
        assert promote_over(session, two, one, "gate", "won") == two
    with scene.store.session(reading=True) as session:
        assert serving(session).id == two


def test_a_pair_judged_both_ways_at_once_is_one_opinion(scene: Scene) -> None:
    ann = scene.person("ann")
    for _ in range(5):
        one, two = scene.answer(ann, "Q", "one"), scene.answer(ann, "Q", "two")
        ends = at_once(
            lambda one=one, two=two: scene.rate(one, ann, "pair", "left", two),
            lambda one=one, two=two: scene.rate(two, ann, "pair", "left", one),
        )
        assert all(isinstance(end, int) for end in ends)
        with scene.store.session(reading=True) as session:
            assert len(present(session, one) + present(session, two)) == 1


def test_one_file_imported_twice_at_once_is_imported_once(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Q{number}", "chosen": "good", "rejected": "bad"} for number in range(300)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ends = at_once(*[lambda: import_file(store, file)] * 3)
    assert sorted(end.imported for end in ends) == [0, 0, 300]
    with store.session(reading=True) as session:
        assert session.scalar(select(func.count()).select_from(Conversation)) == 300


def test_one_update_is_started(store: Store) -> None:
    def start() -> int:
        with store.session() as session:
            return start_update(session, algorithm="ppo", seed=0, settings={}).id

    assert sum(isinstance(end, int) for end in at_once(*[start] * 6)) == 1


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_by_any_of_its_names(tmp_path: Path, postgres_url: str, scheme: str) -> None:
    store = open_store(tmp_path, postgres_url.replace("postgresql", scheme, 1))
    with store.session() as session:
        person(session, None, "ann")
    with store.session(reading=True) as session:
        assert [each.name for each in session.scalars(select(Person))] == ["ann"]
    store.close()
    assert not (tmp_path / "ratchet.db").exists()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/name", "oracle://host/name", "mssql://host/name"])
def test_a_wrong_url_is_a_problem(url: str) -> None:
    with pytest.raises(Problem) as caught:
        make_engine(url)
    assert "pip install" in caught.value.hint or "postgresql://" in caught.value.hint


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Problem, match="psycopg") as caught:
        make_engine("postgresql://host/name")
    assert "ratchet[postgres]" in caught.value.hint


def test_a_server_that_is_not_there_and_a_database_that_is_not_in_it_are_problems(
    tmp_path: Path, postgres_url: str
) -> None:
    for url, said in ((f"postgresql://ann:secret@/x?host={tmp_path}", "No such file"), (postgres_url, "no_such")):
        with pytest.raises(Problem, match=said) as caught:
            open_store(tmp_path, url.replace("/store_", "/no_such_"))
        assert "RATCHET_DATABASE_URL" in caught.value.hint
        assert "secret" not in str(caught.value)
