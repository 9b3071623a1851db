"""What rules take away from an answer's reward: nothing, their weight, or a part of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.prompts import Message
from reward.rule_settings import (
    BannedRule,
    FormatRule,
    LanguageRule,
    LengthRule,
    RepetitionRule,
    RequiredRule,
    Rule,
    SafetyRule,
)
from reward.rules import apply_rules, counts_tokens, last_user_turn, listed, repeated_share

EACH = (
    LengthRule(minimum=3, maximum=20, weight=0.3),
    LengthRule(name="words", unit="words", maximum=5, falloff=2),
    LanguageRule(weight=100),
    RepetitionRule(weight=1e-3),
    BannedRule(pattern="(?i)as an ai|[!?]{2}", matches=2),
    RequiredRule(pattern=r"\d", matches=3),
    FormatRule(format="json"),
    FormatRule(format="list", name="list", when="(?i)list"),
    FormatRule(format="no_markdown", name="plain"),
    FormatRule(format="single_line", name="line"),
    FormatRule(format="code_block", name="code"),
    SafetyRule(words=("bomb", "kill you", "炸弹"), matches=2),
)


def asking(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def cost(rule: Rule, answer: str, question: str = "Where is my parcel?", tokens: int = 0) -> float:
    """What one rule adds to the reward of one answer, in its weights."""
    return float(apply_rules([rule], [asking(question)], [answer], [tokens])[rule.name][0]) / rule.weight


@pytest.mark.parametrize(
    ("rule", "costs"),
    [
        (LengthRule(maximum=10), {0: 0, 10: 0, 15: -0.5, 20: -1, 500: -1}),
        (LengthRule(minimum=10), {10: 0, 5: -0.5, 0: -1}),
        (LengthRule(minimum=4, maximum=10, falloff=2), {3: -0.5, 2: -1, 4: 0, 10: 0, 11: -0.5, 12: -1}),
    ],
)
def test_tokens_outside_the_bounds_cost_by_how_far(rule: Rule, costs: dict[int, float]) -> None:
    assert {tokens: cost(rule, "", tokens=tokens) for tokens in costs} == costs


def test_words_are_counted_without_any_tokens() -> None:
    rule = LengthRule(unit="words", maximum=4)
    paid = apply_rules([rule], [asking("Hi")] * 3, ["one two three four", "one " * 6, "太阳很暖和了"])
    assert paid["length"].tolist() == [0, -0.25, -0.25]
    assert not counts_tokens([rule])
    assert counts_tokens([rule, LengthRule(maximum=3)])
    with pytest.raises(ValueError, match="counts tokens"):
        apply_rules([LengthRule(maximum=3)], [asking("Hi")], ["a"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The parcel left on Monday and arrives on Thursday.", 0),
        ("It is here. " * 20, 1),
        ("hahaha" * 40, 1),
        ("a" * 500, 1),
        ("." * 60, 1),
        ("谢谢你谢谢你谢谢你谢谢你谢谢你谢谢你谢谢你谢谢你", 0.84),
        ("3f9ac01b77de4c0a8812d1e5f06b94c7", 0),
        ("42", 0),
        ("", 0),
    ],
)
def test_what_is_said_again_and_again(answer: str, expected: float) -> None:
    assert repeated_share(answer, 3) == pytest.approx(expected, abs=0.06)


def test_repetition_up_to_the_tolerance_is_free() -> None:
    text = "a b c a b c d e f g h i"  # one of ten trigrams came before
    assert cost(RepetitionRule(tolerance=0.1), text) == 0
    assert cost(RepetitionRule(tolerance=0), text) == pytest.approx(-0.1)


def test_banned_and_required_finds_cost_their_share() -> None:
    banned, required = BannedRule(pattern="(?i)sorry", matches=2), RequiredRule(pattern=r"\[\d\]", matches=2)
    assert [cost(banned, text) for text in ("No.", "Sorry.", "Sorry, sorry!", "sorry " * 9)] == [0, -0.5, -1, -1]
    assert [cost(required, text) for text in ("No.", "So [1].", "So [1], [2].", "[1]" * 9)] == [-1, -0.5, 0, 0]


def test_a_search_that_is_cut_off_counts_against_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    slow = r"^(a|b|ab)*c$"
    with caplog.at_level(logging.WARNING):
        for rule in (BannedRule(pattern=slow), RequiredRule(pattern=slow)):
            assert cost(rule, "ab" * 60 + "cd") == -1
        assert cost(BannedRule(pattern="c", when=slow), "c", question="ab" * 60 + "cd") == 0, "an unknown when acts not"
    assert len(caplog.records) == 3


def test_a_form_that_is_missed_costs() -> None:
    assert cost(FormatRule(format="json"), "{}") == 0
    assert cost(FormatRule(format="single_line"), "a\nb\nc\nd") == -1


def test_a_list_finds_whole_words_however_they_are_written() -> None:
    words = ("bomb", "kill you", "self-harm", "炸弹", "폭탄")
    assert listed(words, "A bombastic skill, you know.") == 0
    assert listed(words, "The BOMB, a ｂｏｍｂ and a b\u200bomb.") == 3
    assert listed(words, "I will kill  you; self harm") == 2
    assert listed(words, "他有炸弹。 폭탄을 보았다") == 2
    assert cost(SafetyRule(words=words, matches=2), "One bomb.") == -0.5


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([("user", "Where is it?")], -1),
        ([("user", "Translate to Chinese: the sun is warm")], 0),
        (
            [
                ("user", "Translate to Chinese: I am old"),
                ("assistant", "我老了"),
                ("user", "And this: the sun is warm"),
            ],
            0,
        ),
        ([("system", "Answer in Chinese."), ("user", "Where is it?")], 0),
        ([("user", "Where is it?"), ("assistant", "Is Chinese fine?"), ("user", "Where is it, I asked.")], -1),
    ],
)
def test_the_language_rule_is_silent_where_a_language_was_asked_for(
    messages: list[tuple[str, str]], expected: float
) -> None:
    prompt: list[Message] = [{"role": role, "content": content} for role, content in messages]
    assert apply_rules([LanguageRule(weight=1)], [prompt], ["太阳很暖和"])["language"].tolist() == [expected]


def test_a_mixed_answer_costs_from_the_tolerance_on() -> None:
    mixed = "one two three four five six 太阳很暖和了"  # 3 of 9 words, with two characters a word
    assert cost(LanguageRule(tolerance=0), mixed) == pytest.approx(-1 / 3)
    assert cost(LanguageRule(tolerance=0.2), mixed) == pytest.approx(-1 / 6)
    assert cost(LanguageRule(tolerance=0.4), mixed) == 0


def test_when_looks_at_the_last_user_turn() -> None:
    rule = FormatRule(format="json", when="(?i)as json", weight=2)
    earlier: list[Message] = [*asking("As JSON please"), {"role": "assistant", "content": "{}"}, *asking("Thanks")]
    paid = apply_rules([rule], [asking("Give it as JSON"), earlier, asking("Hi"), []], ["no"] * 4)
    assert paid["format"].tolist() == [-2, 0, 0, 0]
    assert last_user_turn([]) == ""


def test_each_rule_has_a_figure_an_answer_by_its_name() -> None:
    answers = ["a", "b"]
    paid = apply_rules(EACH, [asking("Hi")] * 2, answers, [1, 2])
    assert list(paid) == [rule.name for rule in EACH]
    assert all(figures.shape == (2,) and figures.dtype == torch.float32 for figures in paid.values())
    assert {len(figures) for figures in apply_rules(EACH, [], [], []).values()} == {0}
    assert apply_rules([], [asking("Hi")], ["a"]) == {}


ODD = ["", "\x00", "\ud800", "\u202e", "[" * 300, "我" * 300, "a" * 300, "{" * 300, "`" * 301, "\n" * 300, "İ" * 9]


@settings(max_examples=60, deadline=None)
@given(st.text() | st.sampled_from(ODD), st.lists(st.text() | st.sampled_from(ODD), max_size=3), st.integers(0, 10**9))
def test_any_text_costs_between_nothing_and_the_weight(question: str, answers: Sequence[str], tokens: int) -> None:
    paid = apply_rules(EACH, [asking(question)] * len(answers), answers, [tokens] * len(answers))
    for rule in EACH:
        for figure in paid[rule.name].tolist():
            assert math.isfinite(figure)
            assert -rule.weight * (1 + 1e-6) <= figure <= 0
            assert math.copysign(1, figure) == 1 or figure < 0, "no -0.0 in logs"
