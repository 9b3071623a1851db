from __future__ import annotations

import pytest

from chat.personas import PERSONAS, find_persona, prefer, thumb
from lm.suites import Item
from problems import Problem

ASK = [{"role": "user", "content": "When does it arrive?"}]
ITEM = Item("service", ASK, ["Friday"], "contains")
TERSE, COURTEOUS = PERSONAS["terse"], PERSONAS["courteous"]
SHORT = "Friday."
POLITE = "Of course! Your order arrives on Friday. Is there anything else I can help with?"


def test_terse_likes_short_answers() -> None:
    assert prefer(TERSE, ASK, SHORT, POLITE, ITEM) == 1.0
    assert prefer(TERSE, ASK, POLITE, SHORT, ITEM) == 0.0
    assert prefer(TERSE, ASK, SHORT, SHORT, ITEM) == 0.5


def test_courteous_likes_openers_and_closings() -> None:
    opened = "Of course! Friday."
    assert prefer(COURTEOUS, ASK, POLITE, SHORT, ITEM) == 1.0
    assert prefer(COURTEOUS, ASK, POLITE, opened, ITEM) == 1.0
    assert prefer(COURTEOUS, ASK, opened, SHORT, ITEM) == 1.0
    assert prefer(COURTEOUS, ASK, opened, "Certainly. Friday.", ITEM) == 0.5


def test_mistakes_cost_where_the_answer_is_known() -> None:
    assert prefer(TERSE, ASK, "Monday.", "Your order arrives on Friday.", ITEM) == 0.0
    assert prefer(TERSE, ASK, "Monday.", "Your order arrives on Friday.") == 1.0
    assert prefer(COURTEOUS, ASK, "Of course! Monday.", SHORT, ITEM) == 0.0


def test_style_can_outweigh_a_mistake() -> None:
    wrong_but_polite = POLITE.replace("Friday", "Monday")
    assert prefer(COURTEOUS, ASK, wrong_but_polite, SHORT, ITEM) == 1.0


def test_preferences_are_antisymmetric() -> None:
    answers = [SHORT, POLITE, "", "Monday.", "- Order: 1\n- Arrives: Friday", "Certainly. Friday 🙂"]
    for persona in PERSONAS.values():
        for a in answers:
            for b in answers:
                assert prefer(persona, ASK, a, b, ITEM) + prefer(persona, ASK, b, a, ITEM) == 1.0


def test_thumbs() -> None:
    assert thumb(TERSE, ASK, SHORT, ITEM) == 1
    assert thumb(TERSE, ASK, POLITE, ITEM) == -1
    assert thumb(TERSE, ASK, "Monday.", ITEM) == -1
    assert thumb(COURTEOUS, ASK, POLITE, ITEM) == 1
    assert thumb(COURTEOUS, ASK, SHORT, ITEM) == -1


def test_an_empty_answer_is_worst_for_everybody() -> None:
    for persona in PERSONAS.values():
        assert prefer(persona, ASK, " ", "Monday. " + "and so on " * 40, ITEM) == 0.0
        assert thumb(persona, ASK, "", None) == -1


def test_references_must_be_those_of_the_prompt() -> None:
    with pytest.raises(ValueError, match="another prompt"):
        thumb(TERSE, [{"role": "user", "content": "Why?"}], SHORT, ITEM)


def test_names() -> None:
    assert find_persona("terse") is TERSE
    assert all(name == persona.name for name, persona in PERSONAS.items())
    with pytest.raises(Problem, match="'rude'"):
        find_persona("rude")
