from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store.datasets import freeze
from store.holdout import held_out_people, split_of

from .conftest import Scene
from .test_datasets import frozen, opening_on, thumbs


def test_what_is_nearly_held_out_is_not_trained_on(scene: Scene) -> None:
    ann = scene.person("ann")
    held = opening_on("holdout", 0.3)
    near = next(
        f"{held}{mark}"
        for mark in ("!", "?", "...", " !", "!!", "?!", ";")
        if split_of(f"{held}{mark}", 0.3, "") == "train"
    )
    for words, answer in ((held, "held"), (near, "near"), (opening_on("train", 0.3), "far")):
        made = scene.answer(ann, words, answer)
        for kind, value in (("thumb", 1), ("score", 7), ("tags", ["kind"])):
            scene.rate(made, ann, kind, value)
    dataset = frozen(scene.store, holdout_share=0.3)
    for rows in (dataset.thumbs, dataset.scores, dataset.tags):
        assert {(each.answer, each.split) for each in rows} == {("held", "holdout"), ("far", "train")}
    assert len(dataset.prompts) == 2
    assert dataset.left_out == {"nearly held out": 4}


def test_a_person_is_held_out_for_ever_and_never_one_of_the_first(scene: Scene) -> None:
    people = [scene.person(f"person {number}") for number in range(60)]
    for number, each in enumerate(people):
        scene.rate(scene.answer(each, opening_on("train", 0.15, number), "a"), each, "thumb", 1)
    with scene.store.session(reading=True) as session:
        dataset = freeze(session, seed=0, holdout_people=0.4)
    held = {each.person for each in dataset.thumbs if each.split == "holdout"}
    assert 5 < len(held) < 30
    assert not held & set(people[:20])
    assert {each.person for each in dataset.thumbs if each.split == "train"} == set(people) - held
    assert {each.person for each in dataset.prompts if each.split == "holdout"} == held
    for number in range(60, 80):
        newer = scene.person(f"person {number}")
        scene.rate(scene.answer(newer, opening_on("train", 0.15, number), "a"), newer, "thumb", 1)
    with scene.store.session(reading=True) as session:
        later = freeze(session, seed=9, holdout_people=0.4)
    assert {each.person for each in later.thumbs if each.split == "holdout"} >= held


def test_a_held_out_person_s_opinion_on_another_s_answer_is_left_out(scene: Scene) -> None:
    people = [scene.person(f"person {number}") for number in range(60)]
    with scene.store.session(reading=True) as session:
        held = sorted(held_out_people(session, 0.4))
    answer = scene.answer(people[0], opening_on("train", 0.15), "a")
    scene.rate(answer, held[0], "thumb", 1)
    scene.rate(answer, people[1], "thumb", 1)
    with scene.store.session(reading=True) as session:
        dataset = freeze(session, seed=0, holdout_people=0.4)
    assert [(each.person, each.split) for each in dataset.thumbs] == [(people[1], "train")]
    assert dataset.left_out == {"straddling": 1}


def test_an_edited_opening_that_would_straddle_is_left_out(scene: Scene) -> None:
    ann = scene.person("ann")
    words = [f"Question {number}" for number in range(60)]
    kept = next(word for word in words if split_of(word, 0.3, "") == "train")
    held = next(word for word in words if split_of(word, 0.3, "") == "holdout")
    conversation = scene.conversation(ann)
    scene.rate(scene.answer(ann, kept, "a", conversation), ann, "thumb", 1)
    straddling = scene.answer(ann, held, "b", conversation)
    for kind, value in (("thumb", 1), ("score", 10), ("tags", ["kind"])):
        scene.rate(straddling, ann, kind, value)
    dataset = frozen(scene.store, holdout_share=0.3)
    assert thumbs(dataset) == {("a", True, "thumb")}
    assert [each.messages[0]["content"] for each in dataset.prompts] == [kept]
    assert (dataset.scores, dataset.tags) == ([], [])
    assert dataset.left_out == {"straddling": 4}


@given(opening=st.text(), share=st.floats(0, 1), salt=st.sampled_from(["", "a" * 64]))
def test_what_is_held_out_stays_so_when_more_is_held_out(opening: str, share: float, salt: str) -> None:
    assert split_of(opening, 0.0, salt) == "train"
    assert split_of(opening, 1.0, salt) == "holdout"
    if split_of(opening, share, salt) == "holdout":
        assert split_of(opening, min(1.0, share * 1.5), salt) == "holdout"
