from __future__ import annotations

import random
import re

from lm.starter import service
from lm.starter.question import Question


def many(split: str, n: int = 600) -> list[Question]:
    rng = random.Random(7)
    return [service.question(rng, "test" if split == "test" else "train") for _ in range(n)]


def test_the_answer_stands_in_the_prompt_or_is_said_to_be_unknown() -> None:
    unknown = 0
    for question in many("train"):
        prompt = " ".join(message["content"] for message in question.messages)
        if question.core == "I don't know.":
            unknown += 1
        else:
            assert question.references[0] in prompt.replace(
                "the " + question.references[0] + " plan", question.references[0]
            )
    assert 30 < unknown < 120


def test_the_answer_belongs_to_the_order_that_is_asked_for() -> None:
    rng = random.Random(0)
    both = [q for q in (service.question(rng, "train") for _ in range(600)) if "Order" in q.messages[0]["content"]]
    checked = 0
    for question in both:
        text = " ".join(message["content"] for message in question.messages)
        if question.core == "I don't know." or not question.points or question.points[0][0] != "Order":
            continue
        number = question.points[0][1]
        assert question.references[0] in note_of(text, number)
        checked += 1
    assert checked > 200


def test_every_form_of_the_answer_holds_the_reference() -> None:
    for question in many("test"):
        for said in (question.core, *question.sentences):
            assert any(reference.lower() in said.lower() for reference in question.references)
        if question.points:
            assert question.references[0] in question.points[-1][1]


def test_facts_stand_in_a_system_turn_or_in_the_users() -> None:
    roles = [tuple(message["role"] for message in question.messages) for question in many("train")]
    assert set(roles) == {("system", "user"), ("user",)}


def note_of(text: str, number: str) -> str:
    """What the prompt says of the order of that number."""
    return next(part for part in text.split("Order ")[1:] if part.startswith(number + ":")).split(".")[0]


def test_an_unknown_fact_is_really_missing_from_the_order() -> None:
    checked = 0
    for question in many("train", 1500):
        text = " ".join(message["content"] for message in question.messages)
        asked = re.search(r"(?:how much is|price of) order (\d+)", text, re.IGNORECASE)
        if question.core == "I don't know." and asked:
            assert " euros" not in note_of(text, asked[1])
            checked += 1
    assert checked > 5


def test_a_follow_up_is_about_the_same_record_or_the_other_order_named() -> None:
    checked = 0
    for question in many("test", 1500):
        follow_up = question.follow_up
        assert follow_up is not None
        if not question.points or not follow_up.points or question.points[0][0] != "Order":
            continue
        asked = re.search(r"order (\d+)", follow_up.messages[0]["content"], re.IGNORECASE)
        assert follow_up.points[0][1] == (asked[1] if asked else question.points[0][1])
        text = " ".join(message["content"] for message in question.messages)
        assert follow_up.references[0] in note_of(text, follow_up.points[0][1])
        checked += bool(asked)
    assert checked > 50
