from __future__ import annotations

import pytest

from problems import Problem
from store.conversations import new_conversation, person, record_generation
from store.database import Store
from store.datasets import freeze
from store.ratings import present, rate
from store.single_rating import drop_rating, ratings_about, show_rating
from store.versions import add_version, audit_trail, promote, rollback, serving

from .conftest import Scene


def test_a_rating_is_shown_with_its_words(scene: Scene) -> None:
    ann = scene.person("ann")
    left = scene.answer(ann, "Which sea?", "The Black Sea.")
    right = scene.answer(ann, "Which sea?", "No idea.")
    number = scene.rate(left, ann, "pair", "left", right)
    with scene.store.session(reading=True) as session:
        shown = show_rating(session, number)
    assert (shown.kind, shown.value, shown.person, shown.present) == ("pair", "left", ann, True)
    assert (shown.generation, shown.answer) == (left, "The Black Sea.")
    assert (shown.other, shown.other_answer) == (right, "No idea.")
    assert shown.messages == [{"role": "user", "content": "Which sea?"}]


def test_a_dropped_rating_is_in_no_later_dataset_and_in_the_audit(scene: Scene) -> None:
    ann = scene.person("ann")
    kept, bad = scene.answer(ann, "Q", "kept"), scene.answer(ann, "R", "bad")
    scene.rate(kept, ann, "thumb", 1)
    number = scene.rate(bad, ann, "thumb", 1)
    events = scene.events()
    with scene.store.session() as session:
        row = drop_rating(session, number, "root", "a test of the page")
    assert scene.events() == events + 1  # nothing was removed
    with scene.store.session(reading=True) as session:
        assert [thumb.answer for thumb in freeze(session, seed=0).thumbs] == ["kept"]
        assert present(session, bad) == []
        assert not show_rating(session, number).present
    assert (row.who, row.action, row.from_version, row.to_version) == ("root", "drop rating", 0, 0)
    assert row.reason == f"rating {number}, thumb by {ann} on {bad}: a test of the page"
    with pytest.raises(Problem, match="does not hold") as again, scene.store.session() as session:
        drop_rating(session, number, "root")
    assert again.value.status == 3


def test_whoever_rated_may_rate_again_after_a_drop(scene: Scene) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Q", "A")
    dropped = scene.rate(answer, ann, "thumb", 1)
    with scene.store.session() as session:
        drop_rating(session, dropped, "root")
    again = scene.rate(answer, ann, "thumb", -1)
    with scene.store.session(reading=True) as session:
        assert [(each.id, each.value) for each in present(session, answer)] == [(again, -1)]
        assert not show_rating(session, dropped).present


def test_there_must_be_such_a_rating(scene: Scene) -> None:
    for act in (lambda session: show_rating(session, 7), lambda session: drop_rating(session, 7, "root")):
        with pytest.raises(Problem, match="no rating 7"), scene.store.session() as session:
            act(session)


def test_a_rating_can_be_dropped_where_nothing_serves_yet(store: Store) -> None:
    with store.session() as session:
        ann = person(session, None, "ann").id
        said = {"version_id": None, "adapter_hash": None, "sampling": {}, "token_ids": [], "logprobs": []}
        answer = record_generation(
            session, person_id=ann, conversation_id=new_conversation(session, ann, "import").id,
            messages=[{"role": "user", "content": "Q"}], text="A", finish_reason="stop", surface="import", latency=0.0,
            **said,
        )  # fmt: skip
        number = rate(session, generation_id=answer.id, person_id=ann, kind="thumb", value=1, surface="import").id
    with store.session() as session:
        drop_rating(session, number, "root")
    with store.session(reading=True) as session:
        assert [(each.from_version, each.to_version) for each in audit_trail(session)] == [(None, None)]


def test_a_drop_in_the_audit_is_nothing_to_roll_back(scene: Scene) -> None:
    ann = scene.person("ann")
    with scene.store.session() as session:
        made = add_version(
            session, parent=0, adapter="x", adapter_hash="a", update_id=None, dataset_hash=None, report={}
        )
        promote(session, made.id, "ann", "better")
    number = scene.rate(scene.answer(ann, "Q", "A"), ann, "thumb", 1)
    with scene.store.session() as session:
        drop_rating(session, number, "root")
    with scene.store.session() as session:
        rollback(session, "ann")
        assert serving(session).id == 0
    with pytest.raises(Problem, match="nothing to roll back"), scene.store.session() as session:
        rollback(session, "ann")


def test_ratings_are_found_by_what_a_frozen_row_says(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    conversation = scene.conversation(ann)
    long = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}, {"role": "user", "content": "R"}]
    first, second = (scene.answer(ann, prompt, "A", conversation) for prompt in (long[:1], long))
    scene.rate(first, ann, "thumb", 1)
    changed, now = (scene.rate(second, ann, "thumb", value) for value in (1, -1))
    scene.rate(second, bob, "thumb", 1)
    row = {"conversation": conversation, "person": ann, "kind": "thumb", "messages": long}
    with scene.store.session(reading=True) as session:
        assert ratings_about(session, [row, {**row, "kind": ""}]) == [[(now, second)], []]
    assert changed < now
