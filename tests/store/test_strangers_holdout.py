"""Strangers who aim at the holdout: with chosen openings, with near copies of what others asked, under other names."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import Problem
from store.conversations import person
from store.database import Store, open_store
from store.datasets import freeze
from store.duplicates import near_duplicates
from store.frozen import Frozen
from store.holdout import opening, split_of
from store.imported import SURFACE
from store.keys import add_key
from store.ratings import rate, withdraw
from store.salts import salt_of
from store.schema import Rating
from store.shares import HELD_FLOOR

from .conftest import Scene
from .test_datasets import opening_on

MARKS = ("", "!", "?", "...", " !", "!!", "?!", ";", ".", " ;")


def frozen(store: Store, **knobs: Any) -> Frozen:
    with store.session(reading=True) as session:
        return freeze(session, seed=0, **{"holdout_share": 0.3, "holdout_people": 0.0} | knobs)


def topic(number: int) -> str:
    return f"Please tell me of {hashlib.sha256(str(number).encode()).hexdigest()[:20]}"


def honest(scene: Scene, people: int, each: int) -> list[str]:
    """People who rate several answers each, all to different questions."""
    found = [scene.person(f"honest {number}") for number in range(people)]
    for place, who in enumerate(found):
        for number in range(each):
            scene.rate(scene.answer(who, topic(place * each + number), "a"), who, "thumb", 1)
    return found


def split(dataset: Frozen, side: str) -> list[str]:
    """The rows of a side, each as text."""
    return sorted(
        f"{name} {asdict(row)}" for name, rows in dataset.by_kind().items() for row in rows if row.split == side
    )


def rated_by(dataset: Frozen, side: str) -> Counter[str]:
    return Counter(row.person for row in dataset.thumbs if row.split == side)


def test_one_person_s_300_chosen_openings_stay_below_the_cap(scene: Scene) -> None:
    everybody = honest(scene, 20, 4)
    attacker = scene.person("attacker")
    for number in range(300):  # a store without a salt: whoever knows the program knows the side
        scene.rate(scene.answer(attacker, opening_on("holdout", 0.3, number), "a"), attacker, "thumb", -1)
    open_door, held = frozen(scene.store), frozen(scene.store, holdout_person_share=0.2)
    assert rated_by(open_door, "holdout")[attacker] == 300
    theirs, all_held = rated_by(held, "holdout")[attacker], len([t for t in held.thumbs if t.split == "holdout"])
    assert theirs == max(HELD_FLOOR, int(0.2 * all_held))
    assert rated_by(held, "train")[attacker] == 0  # what is above the cap is not trained on either
    assert Counter(row.person for row in held.prompts if row.split == "holdout")[attacker] <= HELD_FLOOR
    for side in ("train", "holdout"):
        assert [rated_by(held, side)[each] for each in everybody] == [rated_by(open_door, side)[e] for e in everybody]
    assert held.left_out["one person's share of the holdout"] == 2 * (300 - theirs)  # thumbs and prompts


def test_with_a_salt_chosen_openings_fall_as_any_others(salted: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    with closing(open_store(tmp_path_factory.mktemp("salted"))) as store:
        scene = Scene(store)
        attacker = scene.person("attacker")
        aimed = [opening_on("holdout", 0.15, number) for number in range(120)]
        for words in aimed:
            scene.rate(scene.answer(attacker, words, "a"), attacker, "thumb", -1)
        held = rated_by(frozen(store, holdout_share=0.15), "holdout")[attacker]
        with store.session(reading=True) as session:
            salt = salt_of(session, "holdout")
        assert held == sum(split_of(words, 0.15, salt) == "holdout" for words in aimed)
        assert held < 45  # of 120, where 18 are expected: seven deviations


def test_somebody_alone_or_with_a_guest_loses_nothing_that_matters(scene: Scene) -> None:
    ann = honest(scene, 1, 60)[0]
    alone = frozen(scene.store, holdout_person_share=0.2)
    assert alone == frozen(scene.store)
    guest = scene.person("guest")
    scene.rate(scene.answer(guest, opening_on("holdout", 0.3), "a"), guest, "thumb", 1)
    assert rated_by(frozen(scene.store, holdout_person_share=0.2), "holdout") == {ann: HELD_FLOOR, guest: 1}


def test_questions_of_a_visitor_are_capped_and_cap_nobody(scene: Scene) -> None:
    ann = honest(scene, 1, 60)[0]
    before = [row for row in frozen(scene.store, holdout_person_share=0.2).prompts if row.split == "holdout"]
    visitor = scene.person("visitor")
    for number in range(100):
        scene.answer(visitor, opening_on("holdout", 0.3, number), "a")
    after = [row for row in frozen(scene.store, holdout_person_share=0.2).prompts if row.split == "holdout"]
    assert [row for row in after if row.person == ann] == before
    assert sum(row.person == visitor for row in after) <= max(HELD_FLOOR, len(before))


def test_near_copies_that_nobody_rated_drive_out_no_honest_row(scene: Scene) -> None:
    honest(scene, 20, 4)
    before = frozen(scene.store)
    visitor = scene.person("visitor")
    for number in range(80):
        for mark in MARKS:
            scene.answer(visitor, f"{topic(number)}{mark}", "b")
    after = frozen(scene.store)
    assert len(before.thumbs) == 80
    assert after.thumbs == before.thumbs
    assert set(split(after, "train")) >= set(split(before, "train"))
    # And what is tested on is still nothing that is nearly trained on.
    sides = [
        sorted({opening(row.messages) for row in after.prompts if row.split == side}) for side in ("train", "holdout")
    ]
    assert near_duplicates(*sides) == set()
    assert after.left_out["nearly trained on"] > 0


def test_what_was_rated_still_drives_near_copies_out_of_training(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    held = opening_on("holdout", 0.3)
    close = next(f"{held}{mark}" for mark in MARKS[1:] if split_of(f"{held}{mark}", 0.3, "") == "train")
    scene.rate(scene.answer(ann, close, "close"), ann, "thumb", 1)
    scene.answer(bob, held, "held")
    assert [row.answer for row in frozen(scene.store).thumbs] == ["close"]
    scene.rate(scene.answer(bob, held, "held"), bob, "thumb", 1)
    assert [row.answer for row in frozen(scene.store).thumbs] == ["held"]


def test_a_question_that_a_held_out_person_asked_first_is_still_trained_on(scene: Scene) -> None:
    """Half of the people after the first twenty are held out: one of them asks before everybody else."""
    everybody = [scene.person(f"person {number}") for number in range(60)]
    for who in everybody[20:]:
        scene.answer(who, opening_on("train", 0.3), "b")
    scene.answer(everybody[0], opening_on("train", 0.3), "a")
    rows = frozen(scene.store, holdout_people=0.5).prompts
    assert [row.split for row in rows] == ["train"]


ASKS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(MARKS), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(said=ASKS, asked=ASKS, first=st.booleans())
def test_no_visitor_without_ratings_changes_what_others_train_on(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[int, str, bool]],
    asked: list[tuple[int, str, bool]],
    first: bool,
) -> None:
    """Whatever people asked and rated, and whatever a visitor asks, before them or after."""

    def training(visited: bool) -> tuple[list[Any], set[str]]:
        with closing(open_store(tmp_path_factory.mktemp("store"))) as store:
            scene = Scene(store)
            people = [scene.person(name) for name in ("ann", "bob", "visitor")]

            def visit() -> None:
                for number, mark, _ in asked if visited else ():
                    scene.answer(people[2], f"{topic(number)}{mark}", "b")

            if first:
                visit()
            for place, (number, mark, rates) in enumerate(said):
                answer = scene.answer(people[place % 2], f"{topic(number)}{mark}", f"a{place}")
                if rates:
                    scene.rate(answer, people[place % 2], "thumb", 1)
            if not first:
                visit()
            dataset = frozen(store, holdout_person_share=0.2, newcomer_share=0.2)
            rows = sorted((row.answer, row.liked) for row in dataset.thumbs if row.split == "train")
            return rows, {str(row.messages) for row in dataset.prompts if row.split == "train"}

    alone, visited = training(False), training(True)
    assert visited[0] == alone[0]
    assert visited[1] >= alone[1]


@pytest.mark.parametrize("kind", ["thumb", "tags"])
def test_only_an_import_is_exempt_from_the_cap_not_whoever_is_called_so(scene: Scene, kind: str) -> None:
    value: Any = 1 if kind == "thumb" else ["kind"]
    with scene.store.session() as session:
        eve = person(session, "import:eve").id  # as if one had got in
    people = [eve, scene.person("ann"), scene.person("bob"), scene.person("cem")]
    for count, who in zip((40, 4, 4, 4), people, strict=True):
        for _ in range(count):
            made = scene.answer(who, opening_on("train", 0.3, scene.events()), "a")
            with scene.store.session() as session:
                session.add(Rating(generation_id=made, person_id=who, kind=kind, value=value, surface="api"))
    rows = [*frozen(scene.store, person_share=0.3).thumbs, *frozen(scene.store, person_share=0.3).tags]
    assert Counter(row.person for row in rows)[eve] < 12
    with scene.store.session() as session:
        session.query(Rating).where(Rating.person_id == eve).update({"surface": SURFACE})
    rows = [*frozen(scene.store, person_share=0.3).thumbs, *frozen(scene.store, person_share=0.3).tags]
    assert Counter(row.person for row in rows)[eve] == 40


@pytest.mark.parametrize("who", ["import", "import:0123"])
def test_nobody_rates_or_withdraws_as_an_import_and_no_key_speaks_for_one(scene: Scene, who: str) -> None:
    with scene.store.session() as session:
        person(session, who)
    ann = scene.person("ann")
    made = scene.answer(ann, "Q", "A")
    scene.rate(made, ann, "thumb", 1)
    about: dict[str, Any] = {"generation_id": made, "person_id": who, "kind": "thumb"}
    with scene.store.session() as session:
        session.add(Rating(**about, value=1, surface=SURFACE))
    for surface in ("api", "page"):
        with pytest.raises(Problem, match="an import alone"), scene.store.session() as session:
            rate(session, **about, value=-1, surface=surface)
        with pytest.raises(Problem, match="an import alone"), scene.store.session() as session:
            withdraw(session, **about, surface=surface)
    with pytest.raises(Problem, match="nobody can speak for them"), scene.store.session() as session:
        add_key(session, "a program", person_id=who)
