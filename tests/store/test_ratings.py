from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from problems import Problem
from store.database import Store
from store.ratings import KINDS, count_present, present

from .conftest import Scene

GOOD: list[tuple[str, Any]] = [
    ("thumb", 1),
    ("thumb", -1),
    ("score", 1),
    ("score", 10),
    ("tags", []),
    ("tags", ["too long", "很好"]),
    ("comment", "Bell \7 and all"),
    ("comment", "x" * 10_000),
    ("correction", "x" * 100_000),
]
BAD: list[tuple[str, Any]] = [
    ("thumb", 0),
    ("thumb", True),
    ("thumb", 1.0),
    ("thumb", "1"),
    ("thumb", None),
    ("score", 0),
    ("score", 11),
    ("score", 5.5),
    ("score", True),
    ("tags", "good"),
    ("tags", [1]),
    ("tags", [""]),
    ("tags", ["x" * 101]),
    ("tags", ["x"] * 33),
    ("comment", ""),
    ("comment", " \n"),
    ("comment", "x" * 10_001),
    ("comment", "\ud800"),
    ("comment", "Nul \0 and all"),
    ("tags", ["a\0"]),
    ("comment", 3),
    ("correction", ""),
    ("correction", "x" * 100_001),
    ("like", 1),
    ("pair", "left"),
]


def values(store: Store, generation: str, person: str | None = None) -> list[tuple[str, Any]]:
    with store.session(reading=True) as session:
        return [(each.kind, each.value) for each in present(session, generation, person)]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_good_value_is_kept_exactly(scene: Scene, kind: str, value: Any) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    scene.rate(answer, ann, kind, value)
    assert values(scene.store, answer) == [(kind, value)]


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_a_bad_value_is_refused_and_leaves_nothing(scene: Scene, kind: str, value: Any) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    with pytest.raises(Problem) as caught:
        scene.rate(answer, ann, kind, value)
    assert caught.value.hint
    assert len(str(caught.value)) < 200
    assert scene.events() == 0


def test_unknown_generation_person_or_other_is_refused(scene: Scene) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    for call in (
        lambda: scene.rate("gen-0", ann, "thumb", 1),
        lambda: scene.rate("gen-\ud800", ann, "thumb", 1),
        lambda: scene.rate("gen-\0", ann, "thumb", 1),
        lambda: scene.rate(answer, "nobody", "thumb", 1),
        lambda: scene.rate(answer, ann, "thumb", 1, answer),
        lambda: scene.rate(answer, ann, "pair", "left", "gen-0"),
        lambda: scene.rate(answer, ann, "pair", "left", answer),
        lambda: scene.withdraw(answer, ann, "thumb"),
        lambda: scene.withdraw("gen-0", ann, "thumb"),
    ):
        with pytest.raises(Problem):
            call()
    assert scene.events() == 0


def test_the_latest_opinion_holds_and_no_event_is_lost(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    answer = scene.answer(ann, "Hello?", "Hi.")
    scene.rate(answer, ann, "thumb", 1)
    scene.rate(answer, ann, "thumb", -1)
    scene.rate(answer, bob, "thumb", 1)
    scene.rate(answer, ann, "score", 3)
    assert values(scene.store, answer, ann) == [("thumb", -1), ("score", 3)]
    assert values(scene.store, answer) == [("thumb", -1), ("thumb", 1), ("score", 3)]
    scene.withdraw(answer, ann, "thumb")
    assert values(scene.store, answer, ann) == [("score", 3)]
    scene.rate(answer, ann, "thumb", 1)
    assert values(scene.store, answer, ann) == [("score", 3), ("thumb", 1)]
    assert scene.events() == 6


REASONS: list[tuple[str, Any]] = [("tags", ["Clear"]), ("comment", "Just so."), ("correction", "It is blue.")]


@pytest.mark.parametrize("how", ["turned", "withdrawn"])
def test_what_hangs_on_a_thumb_goes_with_it(scene: Scene, how: str) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    answer, other = scene.answer(ann, "Hello?", "Hi."), scene.answer(ann, "Hello?", "Yo.")
    for who, what in ((ann, answer), (bob, answer), (ann, other)):
        scene.rate(what, who, "thumb", 1)
        for kind, value in REASONS:
            scene.rate(what, who, kind, value)
    scene.rate(answer, ann, "score", 7)
    scene.rate(answer, ann, "pair", "left", other)
    scene.rate(answer, ann, "thumb", 1)  # again the same: no change of mind
    assert len(values(scene.store, answer, ann)) == 6
    before = scene.events()
    if how == "turned":
        scene.rate(answer, ann, "thumb", -1)
    else:
        scene.withdraw(answer, ann, "thumb")
    assert scene.events() == before + 4, "nothing is overwritten"
    stands = [("score", 7), ("pair", "left")] + ([("thumb", -1)] if how == "turned" else [])
    assert values(scene.store, answer, ann) == stands
    assert values(scene.store, answer, bob) == [("thumb", 1), *REASONS]
    assert values(scene.store, other, ann) == [("thumb", 1), *REASONS]


def test_what_was_said_without_a_thumb_stands_by_itself(scene: Scene) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    for kind, value in REASONS:
        scene.rate(answer, ann, kind, value)
    scene.rate(answer, ann, "thumb", 1)
    scene.rate(answer, ann, "tags", ["Short"])  # this one hangs on the thumb
    scene.rate(answer, ann, "thumb", -1)
    assert values(scene.store, answer, ann) == [*REASONS[1:], ("thumb", -1)]
    scene.withdraw(answer, ann, "thumb")
    assert values(scene.store, answer, ann) == REASONS[1:]


@pytest.mark.parametrize("value", ["left", "right", "tie", "both_bad"])
def test_a_pair_is_one_opinion_whichever_comes_first(scene: Scene, value: str) -> None:
    ann = scene.person("ann")
    one, two = scene.answer(ann, "Hello?", "Hi."), scene.answer(ann, "Hello?", "Good day.")
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(two, ann, "pair", value, one)
    assert values(scene.store, one) == []
    assert values(scene.store, two) == [("pair", value)]
    scene.withdraw(one, ann, "pair", two)
    assert values(scene.store, two) == []
    assert scene.events() == 4


def test_pairs_with_different_others_stand_side_by_side(scene: Scene) -> None:
    ann = scene.person("ann")
    one, two, three = (scene.answer(ann, "Hello?", text) for text in ("Hi.", "Good day.", "Yo."))
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(one, ann, "pair", "right", three)
    assert values(scene.store, one) == [("pair", "left"), ("pair", "right")]


def test_counts_name_every_kind(scene: Scene) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Hello?", "Hi.")
    scene.rate(answer, ann, "thumb", 1)
    scene.rate(answer, ann, "thumb", -1)
    scene.rate(answer, ann, "comment", "Short.")
    scene.withdraw(answer, ann, "comment")
    with scene.store.session(reading=True) as session:
        assert count_present(session) == dict.fromkeys(KINDS, 0) | {"thumb": 1}


Step = tuple[str, int, int, Any]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["thumb", "score"]),
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from([1, -1, None]),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_view_agrees_with_a_dictionary(scene: Scene, steps: list[Step]) -> None:
    people = [scene.person(name) for name in ("ann", "bob")]
    answers = [scene.answer(people[0], "Hello?", text) for text in "abc"]
    model: dict[tuple[int, int, str], int] = {}
    for kind, who, which, value in steps:
        key = (which, who, kind)
        if value is not None:
            value = abs(value) if kind == "score" else value
            scene.rate(answers[which], people[who], kind, value)
            model[key] = value
        elif key in model:
            scene.withdraw(answers[which], people[who], kind)
            del model[key]
    with scene.store.session(reading=True) as session:
        found = {
            (which, people.index(each.person_id), each.kind): each.value
            for which, answer in enumerate(answers)
            for each in present(session, answer)
        }
    assert found == model


def test_eight_threads_rate_at_once_and_nothing_is_lost(scene: Scene) -> None:
    people = [scene.person(f"p{number}") for number in range(8)]
    answers = [scene.answer(people[0], "Hello?", f"answer {number}") for number in range(20)]
    start = threading.Barrier(8)
    told: list[int] = []

    def work(who: str) -> None:
        start.wait()
        for answer in answers:
            told.append(scene.rate(answer, who, "thumb", 1))

    threads = [threading.Thread(target=work, args=(who,)) for who in people]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(told)) == 160
    assert scene.events() == 160
    with scene.store.session(reading=True) as session:
        assert count_present(session)["thumb"] == 160
