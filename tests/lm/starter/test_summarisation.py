from __future__ import annotations

import random
import re

from lm.starter import summarisation


def test_the_summary_is_shorter_than_the_text_and_not_copied_from_it() -> None:
    rng = random.Random(0)
    made = [summarisation.question(rng, "train") for _ in range(400)]
    copied = sum(question.core in question.messages[0]["content"] for question in made)
    assert all(len(question.core) < len(question.messages[0]["content"]) for question in made)
    assert copied < len(made) * 0.1


def test_names_numbers_and_places_of_the_summary_stand_in_the_text() -> None:
    rng = random.Random(1)
    for _ in range(500):
        question = summarisation.question(rng, "test")
        text = question.messages[0]["content"]
        for fact in re.findall(r"\b(?!The\b)[A-Z]\w+|\d+", question.core):
            assert fact in text, question


def test_every_event_and_every_way_to_tell_it_is_filled() -> None:
    rng = random.Random(2)
    made = [summarisation.question(rng, "train") for _ in range(3000)]
    assert not any("{" in question.core + question.messages[0]["content"] for question in made)
    for event in summarisation.EVENTS:
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(event.summary)))
        assert sum(bool(pattern.fullmatch(question.core)) for question in made) > 100
