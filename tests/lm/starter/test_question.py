from __future__ import annotations

import random

from lm.starter.question import ask, typed


def test_a_system_turn_comes_first() -> None:
    assert ask("Why?") == ({"role": "user", "content": "Why?"},)
    assert [message["role"] for message in ask("Why?", "Facts.")] == ["system", "user"]


def test_people_type_with_and_without_capitals_and_marks() -> None:
    rng = random.Random(0)
    assert {typed(rng, "what is it?") for _ in range(100)} == {"what is it?", "What is it?", "what is it", "What is it"}
    assert {typed(rng, "Is it?") for _ in range(100)} == {"Is it?", "Is it"}
