from __future__ import annotations

import pytest
from sqlalchemy import text

from problems import Problem
from store.database import Store
from store.versions import (
    add_version,
    audit_trail,
    ensure_base,
    list_versions,
    promote,
    rollback,
    serving,
    set_status,
)

from .conftest import Scene


def add(store: Store, parent: int = 0, status: str = "candidate") -> int:
    with store.session() as session:
        return add_version(
            session,
            parent=parent,
            adapter=f"versions/child-of-{parent}",
            adapter_hash="aa",
            update_id=None,
            dataset_hash="dd",
            report={"checks": []},
            status=status,
        ).id


def serves(store: Store) -> int:
    with store.session(reading=True) as session:
        return serving(session).id


def statuses(store: Store) -> list[str]:
    with store.session(reading=True) as session:
        return [each.status for each in list_versions(session)]


def test_a_new_store_serves_its_base_and_keeps_to_it(store: Store) -> None:
    with pytest.raises(Problem) as caught, store.session(reading=True) as session:
        serving(session)
    assert caught.value.status == 3
    for _ in range(2):
        with store.session() as session:
            base = ensure_base(session, "starter", "abc")
    assert (base.id, base.status, base.adapter, serves(store)) == (0, "base", None, 0)
    with store.session(reading=True) as session:
        assert [(each.action, each.from_version, each.to_version) for each in audit_trail(session)] == [
            ("start", None, 0)
        ]
    with pytest.raises(Problem, match="starter"), store.session() as session:
        ensure_base(session, "another", "def")


def test_versions_are_numbered_from_one_and_carry_their_lineage(scene: Scene) -> None:
    first = add(scene.store)
    second = add(scene.store, parent=first)
    with scene.store.session(reading=True) as session:
        listed = list_versions(session)
    assert [(each.id, each.parent_id, each.fingerprint) for each in listed] == [
        (0, None, "abc"),
        (1, 0, "abc"),
        (2, 1, "abc"),
    ]
    assert second == 2
    assert serves(scene.store) == 0
    with pytest.raises(Problem, match="no version 9"):
        add(scene.store, parent=9)


def test_rollback_takes_promotions_back_one_by_one(scene: Scene) -> None:
    store = scene.store
    one, two, three = add(store), add(store), add(store)
    with store.session() as session:
        promote(session, one, "ann", "better")
    with store.session() as session:
        promote(session, two, "gate", "better still")
    assert serves(store) == two
    with store.session() as session:
        assert rollback(session, "ann").to_version == one
    with store.session() as session:
        promote(session, three, "ann", "try")
    assert statuses(store) == ["base", "promoted", "retired", "promoted"]
    for expected in (one, 0):
        with store.session() as session:
            rollback(session, "ann")
        assert serves(store) == expected
    with pytest.raises(Problem) as caught, store.session() as session:
        rollback(session, "ann")
    assert caught.value.status == 3
    with store.session(reading=True) as session:
        trail = [(each.who, each.action, each.from_version, each.to_version) for each in audit_trail(session)]
    assert trail == [
        ("ratchet", "start", None, 0),
        ("ann", "promote", 0, one),
        ("gate", "promote", one, two),
        ("ann", "rollback", two, one),
        ("ann", "promote", one, three),
        ("ann", "rollback", three, one),
        ("ann", "rollback", one, 0),
    ]


def test_the_pointer_and_its_audit_row_are_written_together_or_not_at_all(scene: Scene) -> None:
    one = add(scene.store)

    def fail_after_promoting() -> None:
        with scene.store.session() as session:
            promote(session, one, "ann", "better")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_promoting()
    assert serves(scene.store) == 0
    with scene.store.session(reading=True) as session:
        assert len(audit_trail(session)) == 1


def test_what_may_not_serve_is_refused(scene: Scene) -> None:
    store = scene.store
    bad = add(store, status="rejected")
    for version, match in ((bad, "rejected"), (9, "no version"), (2**40, "no version"), (0, "already")):
        with pytest.raises(Problem, match=match), store.session() as session:
            promote(session, version, "ann", "hope")
    assert serves(store) == 0
    with store.session() as session:
        promote(session, bad, "ann", "I read the report", force=True)
    assert (serves(store), statuses(store)) == (bad, ["base", "promoted"])


def test_a_status_is_set_by_hand_only_where_it_does_not_serve(scene: Scene) -> None:
    store = scene.store
    one = add(store)
    with store.session() as session:
        assert set_status(session, one, "canary").status == "canary"
        promote(session, one, "gate", "won")
    for version, status in ((one, "rejected"), (0, "rejected"), (one, "promoted"), (one, "nonsense")):
        with pytest.raises(Problem), store.session() as session:
            set_status(session, version, status)


def test_there_is_one_pointer(scene: Scene) -> None:
    with pytest.raises(Exception, match="one_row"), scene.store.session() as session:
        session.execute(text("INSERT INTO serving (id, version_id) VALUES (2, 0)"))
