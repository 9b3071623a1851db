from __future__ import annotations

import random
import re

from lm.starter import education
from lm.starter.education import CAPITALS, OPPOSITES


def test_sums_are_right_and_their_operands_are_held_out() -> None:
    pairs: dict[str, set[tuple[str, ...]]] = {"train": set(), "test": set()}
    rng = random.Random(0)
    for split in ("train", "test"):
        for _ in range(4000):
            question = education.question(rng, "train" if split == "train" else "test")
            sums = re.match(r"(\d+) ([-+x]) (\d+) = (\d+)\.", question.sentences[0])
            if sums:
                a, sign, b, result = sums.groups()
                assert int(result) == {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign]
                pairs[split].add((a, sign, b))
    assert len(pairs["test"]) > 100
    assert not pairs["train"] & pairs["test"]


def test_spelled_words_are_right_and_held_out() -> None:
    rng = random.Random(1)
    words = {}
    for split in ("train", "test"):
        made = [education._spelling(rng, "train" if split == "train" else "test", False) for _ in range(1500)]
        words[split] = {question.points[0][1] for question in made}
        assert all(question.core.replace("-", "") == question.points[0][1] for question in made)
    assert len(words["test"]) > 30
    assert not words["train"] & words["test"]


def test_units_convert() -> None:
    rng = random.Random(2)
    said = [education._unit(rng, "train", False) for _ in range(2000)]
    by_text = {question.sentences[0] for question in said}
    assert "3 hours = 180 minutes." in by_text or "4 hours = 240 minutes." in by_text
    assert any(text.startswith("1 metre = 100 cent") for text in by_text) or any("1 day = 24" in t for t in by_text)
    for question in said:
        match = re.match(r"(\d+) .+ = (\d+) ", question.sentences[0])
        assert match
        assert int(match[2]) % int(match[1]) == 0


def test_a_product_of_the_test_half_is_trained_the_other_way_round_only() -> None:
    rng = random.Random(4)
    tested = {education._factors(rng, "test") for _ in range(2000)}
    trained = {education._factors(rng, "train") for _ in range(20_000)}
    assert len(tested) > 8
    assert not tested & trained
    assert {(b, a) for a, b in tested} <= trained


def test_the_same_kind_follows() -> None:
    rng = random.Random(5)
    followed = 0
    for _ in range(300):
        question = education.question(rng, "test")
        while question.follow_up is not None:
            followed += 1
            assert {label for label, _ in question.points} & {label for label, _ in question.follow_up.points} or (
                question.points[1][0] in {small.capitalize() for _, small, _ in education.METRIC + education.REMEMBERED}
            )
            question = question.follow_up
    assert followed > 200


def test_facts_are_unambiguous() -> None:
    words = [word for pair in OPPOSITES for word in pair.split()]
    assert len(words) == len(set(words))
    assert len(CAPITALS) >= 30


def test_every_form_of_an_answer_holds_the_reference() -> None:
    rng = random.Random(3)
    for _ in range(800):
        question = education.question(rng, "test")
        assert all(question.references[0].lower() in said.lower() for said in (question.core, *question.sentences))
        assert question.references[0] in question.points[-1][1]
