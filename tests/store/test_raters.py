from __future__ import annotations

import pytest

from store.raters import Rater, Share, agreement, raters

from .conftest import Scene


def figures(scene: Scene) -> dict[str, Rater]:
    with scene.store.session(reading=True) as session:
        return {each.person: each for each in raters(session)}


def test_a_pair_is_one_item_whichever_half_comes_first(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    one, two = scene.answer(ann, "Q", "one"), scene.answer(ann, "Q", "two")
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(two, bob, "pair", "right", one)
    again_one, again_two = scene.answer(ann, "Q", "one"), scene.answer(ann, "Q", "two")
    scene.rate(again_two, ann, "pair", "left", again_one)
    found = figures(scene)
    assert found[ann].steady == Share(0, 1)
    assert found[ann].left == Share(2, 2)
    assert found[bob].agreement == Share(0, 1)
    scene.rate(again_one, ann, "pair", "left", again_two)
    assert figures(scene)[bob].agreement == Share(1, 1)


def test_thumbs_scores_and_speed_by_person(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    answers = [scene.answer(ann, f"Q{number}", "a") for number in range(5)]
    for number, answer in enumerate(answers):
        scene.rate(answer, ann, "thumb", 1 if number < 4 else -1)
        scene.rate(answer, bob, "score", 5)
    scene.rate(answers[0], ann, "score", 6)
    scene.rate(answers[1], ann, "score", 9)
    scene.rate(answers[2], ann, "comment", "not counted")
    found = figures(scene)
    assert found[ann].ratings == {"thumb": 5, "score": 2}
    assert found[ann].liked == Share(4, 5)
    assert found[ann].agreement == found[bob].agreement == Share(1, 2)
    assert found[ann].fastest == 7
    assert list(found) == [ann, bob]


def test_what_was_withdrawn_is_not_counted(scene: Scene) -> None:
    ann = scene.person("ann")
    answer = scene.answer(ann, "Q", "a")
    scene.rate(answer, ann, "thumb", 1)
    scene.withdraw(answer, ann, "thumb")
    scene.rate(answer, ann, "thumb", -1)
    [rater] = figures(scene).values()
    assert rater.ratings == {"thumb": 2}
    assert rater.steady == Share(0, 1)


def test_alpha_against_the_worked_example(scene: Scene) -> None:
    """Krippendorff (2011), section B: nominal data, two observers, ten units: alpha .095."""
    first, second = scene.person("first"), scene.person("second")
    for number, (one, two) in enumerate(zip("0100000000", "1110010010", strict=True)):
        answer = scene.answer(first, f"Q{number}", "a")
        scene.rate(answer, first, "thumb", 1 if one == "1" else -1)
        scene.rate(answer, second, "thumb", 1 if two == "1" else -1)
    with scene.store.session(reading=True) as session:
        found = agreement(session)
    assert found["thumb"] == pytest.approx(0.095, abs=5e-4)
    assert (found["pair"], found["score"]) == (None, None)


def test_an_empty_store_has_no_raters(scene: Scene) -> None:
    assert figures(scene) == {}
    with scene.store.session(reading=True) as session:
        assert agreement(session) == {"thumb": None, "score": None, "pair": None}
