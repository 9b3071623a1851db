"""What each rule takes away, and from which answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.rule_settings import Rule, read_rules
from reward.rules import apply_rules, listed, outside, repeated_share

EVERY: list[dict[str, Any]] = [
    {"kind": "length", "minimum": 3, "maximum": 20, "unit": "words"},
    {"kind": "language"},
    {"kind": "repetition"},
    {"kind": "banned", "pattern": "(?i)as an ai"},
    {"kind": "required", "pattern": r"\d", "matches": 2},
    {"kind": "format", "format": "single_line"},
    {"kind": "safety", "words": ["rat poison"]},
]


def figure(rule: dict[str, Any], answer: str, asked: str = "Where is my parcel?", tokens: int = 10) -> float:
    """What one rule of weight 1 adds to an answer's reward."""
    (found,) = apply_rules(
        read_rules([{"weight": 1.0, **rule}]), [[{"role": "user", "content": asked}]], [answer], [tokens]
    ).values()
    return round(float(found), 4)


@pytest.mark.parametrize(("tokens", "expected"), [(4, -0.2), (5, 0), (10, 0), (15, -0.5), (20, -1), (90, -1)])
def test_a_band_of_length_falls_off_in_a_straight_line(tokens: int, expected: float) -> None:
    assert figure({"kind": "length", "minimum": 5, "maximum": 10}, "any", tokens=tokens) == expected


def test_words_and_an_own_falloff() -> None:
    assert figure({"kind": "length", "maximum": 2, "unit": "words", "falloff": 4}, "one two three") == -0.25
    assert figure({"kind": "length", "maximum": 4, "unit": "words"}, "四个汉字") == 0
    assert outside(0, 3, None, 0) == 1


@pytest.mark.parametrize(
    ("asked", "answer", "broken"),
    [
        ("Where is my parcel?", "It is in Leeds.", False),
        ("Where is my parcel?", "它在利兹，星期一到达，请您耐心等待。", True),
        ("我的包裹在哪里？", "It left on Monday and it will arrive in Leeds on Thursday.", True),
        ("Translate to Chinese: where is the sun?", "太阳在哪里？今天的天气非常好。", False),
        ("Where is my parcel?", "Das Paket ist nicht hier, es kommt mit der Post und wir warten auf dich.", True),
        ("Where is my parcel?", "```python\nпечать = 1\nвывод = печать\n```", False),
        ("Where is my parcel?", "42", False),
        ("Who built it?", "It was built by Дмитрий Иванов.", False),
    ],
)
def test_the_language_that_was_asked_in(asked: str, answer: str, broken: bool) -> None:
    assert (figure({"kind": "language"}, answer, asked) < 0) is broken


def test_repetition_in_words_and_in_characters() -> None:
    assert figure({"kind": "repetition"}, "It left on Monday and arrives in Leeds on Thursday.") == 0
    assert figure({"kind": "repetition"}, "the sun is warm " * 20) < -0.8
    assert figure({"kind": "repetition"}, "好的好的" * 20) < -0.8
    assert figure({"kind": "repetition"}, "......" * 20) < -0.8
    assert repeated_share("", 3) == 0


def test_patterns() -> None:
    assert figure({"kind": "banned", "pattern": "(?i)as an ai"}, "As an AI, I cannot.") == -1
    assert figure({"kind": "banned", "pattern": "!", "matches": 4}, "Oh! No!") == -0.5
    assert figure({"kind": "required", "pattern": r"\d", "matches": 2}, "It costs 5.") == -0.5
    assert figure({"kind": "required", "pattern": r"\d"}, "It costs 5.") == 0


def test_a_search_without_end_is_cut_off_and_counts_against_the_answer() -> None:
    rules = read_rules([{"kind": "banned", "pattern": "needle", "weight": 1.0}])
    object.__setattr__(rules[0], "pattern", r"(x+x+)+y")  # as if it had passed the look at its settings
    found = apply_rules(rules, [[{"role": "user", "content": "?"}]], ["x" * 5000], [1])
    assert float(found["banned"]) == -1


@pytest.mark.parametrize(
    "answer", ["Use rat poison.", "RAT  Poison", "ｒａｔ ｐｏｉｓｏｎ", "r\u200bat poi\u00adson", "rat-poison!"]
)
def test_a_list_is_not_passed_by_another_spelling(answer: str) -> None:
    assert figure({"kind": "safety", "words": ["rat poison"]}, answer) == -1


def test_a_list_looks_for_whole_words() -> None:
    assert figure({"kind": "safety", "words": ["rat"]}, "The ratio is a rate.") == 0
    assert listed(("毒药",), "不要用毒药。") == 1


def test_a_rule_acts_only_where_its_question_is_found() -> None:
    rule = {"kind": "format", "format": "json", "when": "(?i)as json"}
    assert figure(rule, "no json", "Give it as JSON, please") == -1
    assert figure(rule, "no json", "Give it in words") == 0


def test_the_last_user_turn_is_what_was_asked() -> None:
    talk = [
        {"role": "user", "content": "as json"},
        {"role": "assistant", "content": "{}"},
        {"role": "user", "content": "in words"},
    ]
    rules = read_rules([{"kind": "format", "format": "json", "when": "json"}])
    assert float(apply_rules(rules, [talk], ["no"], [1])["format"]) == 0


def test_each_rule_stands_under_its_own_name_with_its_own_weight() -> None:
    rules = read_rules(
        [{"kind": "banned", "pattern": "x", "weight": 0.3}, {"kind": "banned", "pattern": "y", "name": "why"}]
    )
    found = apply_rules(rules, [[{"role": "user", "content": "?"}]] * 3, ["x", "y", "z"], None)
    assert {name: [round(v, 3) for v in each.tolist()] for name, each in found.items()} == {
        "banned": [-0.3, 0, 0],
        "why": [0, -0.5, 0],
    }


def test_tokens_must_be_told_where_they_are_counted() -> None:
    with pytest.raises(ValueError, match="counts tokens"):
        apply_rules(read_rules([{"kind": "length", "maximum": 5}]), [[]], ["a"], None)


RULES: tuple[Rule, ...] = read_rules(EVERY)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200), st.text(max_size=200), st.integers(0, 10**6))
def test_whatever_is_said_a_rule_takes_between_nothing_and_its_weight(asked: str, answer: str, tokens: int) -> None:
    found = apply_rules(RULES, [[{"role": "user", "content": asked}]], [answer], [tokens])
    assert set(found) == {rule.name for rule in RULES}
    for rule in RULES:
        assert -rule.weight <= float(found[rule.name]) <= 0
