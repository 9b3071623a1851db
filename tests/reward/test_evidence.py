"""From a frozen dataset to ratings that number their answers."""

from __future__ import annotations

from typing import Any

import torch

from reward.evidence import KINDS, evidence_from
from store.frozen import Frozen, Pair, Score, Tagged, Thumb

ASKED = [{"role": "user", "content": "Where is it?"}]


def row(of: type[Any], person: str = "ann", split: str = "train", conversation: str = "c", **more: Any) -> Any:
    return of(messages=ASKED, person=person, conversation=conversation, split=split, **more)


FROZEN = Frozen(
    "0" * 64,
    pairs=[
        row(Pair, first="a", second="b", outcome=1.0, kind="pair"),
        row(Pair, first="b", second="c", outcome=0.5, kind="pair", draw="thompson", conversation="d"),
        row(Pair, first="c", second="a", outcome=0.0, kind="pair", person="bo"),
        row(Pair, first="mended", second="a", outcome=1.0, kind="correction"),
        row(Pair, first="a", second="c", outcome=1.0, kind="thumbs"),
        row(Pair, first="x", second="y", outcome=1.0, kind="pair", split="holdout", person="eve"),
    ],
    thumbs=[row(Thumb, answer="a", liked=True, kind="thumb"), row(Thumb, answer="c", liked=False, kind="thumb")],
    prompts=[],
    scores=[row(Score, answer="b", score=7, person="cy")],
    tags=[row(Tagged, answer="a", tags=["Clear", "odd"]), row(Tagged, answer="b", tags=["Wrong"])],
)


def test_each_answer_stands_once_and_every_kind_for_itself() -> None:
    found = evidence_from(FROZEN, "train")
    assert found.texts == ["a", "b", "c", "mended"]
    assert found.people == ["ann", "bo", "cy"]
    assert found.groups == 2
    assert list(found.ratings) == list(KINDS)
    assert {kind: len(each) for kind, each in found.ratings.items()} == {
        "pair": 3,
        "correction": 1,
        "thumb": 2,
        "score": 1,
        "tags": 2,
    }
    assert len(found) == 9


def test_verdicts_keep_their_meaning() -> None:
    found = evidence_from(FROZEN, "train").ratings
    assert found["pair"].first.tolist() == [0, 1, 2]
    assert found["pair"].second.tolist() == [1, 2, 0]
    assert found["pair"].value.tolist() == [1.0, 0.5, 0.0]
    assert found["pair"].person.tolist() == [0, 0, 1]
    assert found["pair"].uniform.tolist() == [True, False, True]
    assert (found["correction"].first.tolist(), found["correction"].second.tolist()) == ([3], [0])
    assert found["thumb"].value.tolist() == [1.0, 0.0]
    assert torch.equal(found["thumb"].first, found["thumb"].second)
    assert found["score"].value.tolist() == [7.0]


def test_tags_are_a_column_each() -> None:
    found = evidence_from(FROZEN, "train")
    assert found.tag_names == ["Clear", "Wrong", "odd"]
    assert found.ratings["tags"].value.tolist() == [[1, 0, 1], [0, 1, 0]]
    asked = evidence_from(FROZEN, "train", tag_names=["Wrong", "never"])
    assert asked.ratings["tags"].value.tolist() == [[0, 0], [1, 0]]


def test_people_keep_the_numbers_that_they_have() -> None:
    found = evidence_from(FROZEN, "train", people=["cy", "zoe"])
    assert found.people == ["cy", "zoe", "ann", "bo"]
    assert found.ratings["score"].person.tolist() == [0]


def test_the_holdout_is_apart_and_empty_kinds_have_their_shape() -> None:
    held = evidence_from(FROZEN, "holdout", tag_names=["Clear"])
    assert held.texts == ["x", "y"]
    assert held.people == ["eve"]
    assert len(held) == 1
    assert held.ratings["tags"].value.shape == (0, 1)


def test_the_same_words_to_another_prompt_are_another_answer() -> None:
    other = Thumb([{"role": "user", "content": "And now?"}], "a", True, "thumb", "ann", "c", "train")
    assert evidence_from(Frozen("", [], [FROZEN.thumbs[0], other], []), "train").texts == ["a", "a"]


def test_some_of_the_ratings() -> None:
    found = evidence_from(FROZEN, "train")
    some = found.taken({kind: torch.arange(len(each)) % 2 == 0 for kind, each in found.ratings.items()})
    assert some.ratings["pair"].value.tolist() == [1.0, 0.0]
    assert some.texts == found.texts
    assert len(some) == 6
