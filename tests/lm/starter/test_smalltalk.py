from __future__ import annotations

import random

from lm.starter import smalltalk


def test_much_of_it_is_outside_the_skills_and_answered_honestly() -> None:
    rng = random.Random(0)
    made = [smalltalk.question(rng, "train") for _ in range(1000)]
    outside = [question for question in made if question.sentences == smalltalk.OUTSIDE]
    assert 400 < len(outside) < 600
    assert len({question.messages[0]["content"] for question in outside}) > 300
    assert all(len(answer) < 100 for answer in smalltalk.OUTSIDE)


def test_questions_are_typed_as_people_type_them() -> None:
    rng = random.Random(1)
    texts = [smalltalk.question(rng, "train").messages[0]["content"] for _ in range(1000)]
    assert any(text[0].isupper() for text in texts)
    assert any(text[0].islower() for text in texts)
    assert any(text.endswith("?") for text in texts)
    assert all(text.strip() for text in texts)


def test_a_name_is_said_back() -> None:
    rng = random.Random(2)
    greeted = [
        q
        for q in (smalltalk.question(rng, "test") for _ in range(2000))
        if "Nice to meet you," in q.core + q.sentences[0]
    ]
    assert greeted
    for question in greeted:
        name = question.sentences[0].removeprefix("Nice to meet you, ").rstrip("!")
        assert name in question.messages[0]["content"]
