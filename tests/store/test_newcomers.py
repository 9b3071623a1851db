"""Who is new, and that all new people together have a bounded part of a dataset, however many they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.datasets import freeze
from store.frozen import Frozen
from store.keys import add_key, revoke_key
from store.newcomers import FIRST_RATERS, newcomers
from store.opinions import opinions
from store.shares import shared
from store.updates import finish_update, start_update

from .conftest import Scene


def new_people(scene: Scene) -> set[str]:
    with scene.store.session(reading=True) as session:
        return newcomers(session, opinions(session, ("thumb", "score", "tags", "correction", "pair")))


def rated(scene: Scene, person: str, times: int, what: str = "Q") -> str:
    """Somebody who rates `times` answers of theirs, each in a conversation of its own."""
    who = scene.person(person)
    for number in range(times):
        scene.rate(scene.answer(who, f"{what} {person} {number}", f"A {number}"), who, "thumb", 1)
    return who


@pytest.fixture
def team(scene: Scene) -> list[str]:
    """As many people as are known because they were the first."""
    return [rated(scene, f"first {number}", 1) for number in range(FIRST_RATERS)]


def updated(scene: Scene) -> None:
    """An update came to a verdict."""
    with scene.store.session() as session:
        number = start_update(session, algorithm="ppo", seed=0, settings={}).id
    with scene.store.session() as session:
        finish_update(session, number, "rejected", None, {"dataset": "0" * 64, "why": "a test"})


def test_the_first_raters_are_known_and_who_comes_later_is_new(scene: Scene, team: list[str]) -> None:
    assert new_people(scene) == set()
    late = rated(scene, "late", 4)
    scene.rate(scene.answer(team[0], "Again", "A"), team[0], "thumb", 1)  # whoever was early stays so
    assert new_people(scene) == {late}


def test_five_rated_conversations_make_known_and_one_conversation_rated_five_times_does_not(
    scene: Scene, team: list[str]
) -> None:
    assert rated(scene, "busy", 5) not in new_people(scene)
    idle = scene.person("idle")
    conversation = scene.conversation(idle)
    for number in range(5):
        scene.rate(scene.answer(idle, f"Q {number}", "A", conversation), idle, "thumb", 1)
    assert new_people(scene) == {idle}


def test_who_came_since_the_last_update_is_new_in_the_next_one_alone(scene: Scene, team: list[str]) -> None:
    before = rated(scene, "before", 6)
    updated(scene)
    after = rated(scene, "after", 6)
    assert before not in new_people(scene)
    assert new_people(scene) == {after}
    updated(scene)
    assert new_people(scene) == set()


def test_a_key_vouches_for_whom_it_speaks_for_until_it_is_revoked(scene: Scene, team: list[str]) -> None:
    guest = rated(scene, "guest", 1)
    with scene.store.session() as session:
        number = add_key(session, "for a guest", person_id=guest)[0].id
    assert new_people(scene) == set()
    with scene.store.session() as session:
        revoke_key(session, number)
    assert new_people(scene) == {guest}


@pytest.mark.parametrize(("said", "known"), [((1, 1), True), ((1, -1), False), ((-1, -1), False), ((1,), False)])
def test_agreeing_with_known_people_on_what_both_rated_makes_known(
    scene: Scene, team: list[str], said: tuple[int, ...], known: bool
) -> None:
    guest = scene.person("guest")
    for number, value in enumerate(said):
        answer = scene.answer(team[0], f"Shared {number}", "A")
        scene.rate(answer, team[0], "thumb", 1)
        scene.rate(answer, guest, "thumb", value)
    assert (guest not in new_people(scene)) == known


def test_strangers_do_not_vouch_for_each_other(scene: Scene, team: list[str]) -> None:
    crowd = [scene.person(f"stranger {number}") for number in range(3)]
    for number in range(3):
        answer = scene.answer(crowd[0], f"Theirs {number}", "A")
        for each in crowd:
            scene.rate(answer, each, "thumb", -1)
    assert new_people(scene) == set(crowd)


def test_strangers_have_a_bounded_part_of_a_dataset_and_it_says_so(scene: Scene, team: list[str]) -> None:
    for number in range(60):
        rated(scene, f"stranger {number}", 1)

    def frozen(share: float) -> Frozen:
        with scene.store.session(reading=True) as session:
            return freeze(session, seed=0, newcomer_share=share)

    capped, open_ = frozen(0.2), frozen(1.0)
    assert len(open_.thumbs) > 70
    for split in ("train", "holdout"):
        rows = [row.person in set(team) for row in capped.thumbs if row.split == split]
        honest = [row for row in open_.thumbs if row.split == split and row.person in set(team)]
        assert rows.count(True) == len(honest)
        assert rows.count(False) <= 0.2 * len(rows)
    assert capped.left_out["new people's share"] == len(open_.thumbs) - len(capped.thumbs)
    assert capped.people["new"] <= 60
    assert capped.people["new_learned"] == sum(row.person not in set(team) for row in capped.thumbs)
    assert f"{capped.people['new_learned']} of their {capped.people['new_ratings']}" in capped.of_new_people()
    assert len(capped.prompts) == len(open_.prompts), "who only asks takes nothing from anybody"


@dataclass(frozen=True)
class Row:
    person: str
    split: str


@given(
    st.lists(st.tuples(st.sampled_from("abcNMO"), st.sampled_from(["train", "holdout"])), max_size=40),
    st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]),
)
def test_known_people_keep_every_row_and_the_new_take_turns(drawn: list[tuple[str, str]], share: float) -> None:
    rows = {"pairs": [Row(*each) for each in drawn[::2]], "thumbs": [Row(*each) for each in drawn[1::2]]}
    new = set("NMO")
    kept, dropped = shared(rows, new, share)
    assert dropped == len(drawn) - sum(map(len, kept.values()))
    for kind, each in rows.items():
        assert [row for row in kept[kind] if row.person not in new] == [row for row in each if row.person not in new]
    for split in ("train", "holdout"):
        left = [row for each in kept.values() for row in each if row.split == split]
        theirs = Counter(row.person for row in left if row.person in new)
        assert sum(theirs.values()) <= share * len(left) + 1e-9
        given_ = Counter(person for person, where in drawn if where == split and person in new)
        if theirs != given_:  # somebody had to give way: nobody has two rows more than another who had more to give
            most = max(theirs.values(), default=0)
            assert all(theirs[person] >= min(given_[person], most - 1) for person in given_)
