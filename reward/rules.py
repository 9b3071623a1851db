"""What the rules take away from the reward of an answer; see `reward/rule_settings.py` for their knobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lm.prompts import Message
from reward.formats import missed
from reward.languages import asks_for_another, foreign_share
from reward.patterns import finds
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
from reward.words import is_ideograph, spellings, words

ENDLESS = 25  # letters of a text's mean word from which on they are no words


def apply_rules(
    rules: Sequence[Rule],
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[str],
    lengths: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """What each rule adds to the reward of N answers.

    Args:
        rules: with distinct names.
        prompts: N conversations, each ending in the turn that is answered.
        answers: N texts.
        lengths: tokens of each answer; None will do where no rule counts tokens (see `counts_tokens`).

    Returns:
        By the rule's name a float32 [N] in [-weight, 0]: 0 where an answer keeps the rule or the rule does not act,
        -weight where an answer breaks it in full.
    """
    tokens = [0] * len(answers) if lengths is None and not counts_tokens(rules) else lengths
    if tokens is None:
        raise ValueError("a rule counts tokens, and no lengths are given")
    return {
        rule.name: torch.tensor(
            [
                0.0 - rule.weight * violation(rule, last_user_turn(messages), answer, length)
                if acts(rule, messages)
                else 0.0
                for messages, answer, length in zip(prompts, answers, tokens, strict=True)
            ]
        )
        for rule in rules
    }


def counts_tokens(rules: Sequence[Rule]) -> bool:
    """Whether one of the rules must be told how many tokens an answer has."""
    return any(isinstance(rule, LengthRule) and rule.unit == "tokens" for rule in rules)


def last_user_turn(messages: Sequence[Message]) -> str:
    """What the user said last; empty where no user spoke."""
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")


def acts(rule: Rule, messages: Sequence[Message]) -> bool:
    """Whether a rule speaks of answers to this conversation.

    The language rule does not where a language or a translation was asked for, in the system's turn or in any of the
    user's: "And this one: ..." goes on with what was asked for before.
    """
    if isinstance(rule, LanguageRule) and any(
        asks_for_another(message["content"]) for message in messages if message["role"] != "assistant"
    ):
        return False
    return not rule.when or bool(finds(rule.when, last_user_turn(messages)))


def violation(rule: Rule, question: str, answer: str, tokens: int) -> float:
    """How far an answer breaks a rule: 0 not at all, 1 in full."""
    match rule:
        case LengthRule():
            count = tokens if rule.unit == "tokens" else len(words(answer))
            return outside(count, rule.minimum, rule.maximum, rule.falloff)
        case LanguageRule():
            return above(foreign_share(question, answer), rule.tolerance)
        case RepetitionRule():
            return above(repeated_share(answer, rule.n), rule.tolerance)
        case BannedRule():
            found = finds(rule.pattern, answer, rule.matches)
            return 1.0 if found is None else found / rule.matches
        case RequiredRule():
            return 1 - (finds(rule.pattern, answer, rule.matches) or 0) / rule.matches
        case FormatRule():
            return missed(rule.format, answer)
        case SafetyRule():
            return min(1.0, listed(rule.words, answer) / rule.matches)


def outside(count: int, minimum: int, maximum: int | None, falloff: int) -> float:
    """How far a count lies outside its bounds, 1 from `falloff` on (0: from as many as the bound itself on)."""
    if count < minimum:
        return min(1.0, (minimum - count) / (falloff or minimum))
    if maximum is not None and count > maximum:
        return min(1.0, (count - maximum) / (falloff or maximum))
    return 0.0


def above(share: float, tolerance: float) -> float:
    """A share's way from the tolerance to 1, as 0 to 1."""
    return max(0.0, (share - tolerance) / (1 - tolerance))


def repeated_share(text: str, n: int) -> float:
    """Share of a text's n-grams of words that stood in it before; 2n characters where most words are one.

    A text with more marks than letters, a row of dots for instance, is read mark by mark; one of endless words
    ("hahaha..."), letter by letter, 2n at a time.

    Source: Welleck et al. 2020, arXiv 1908.04319, section 6.1 (seq-rep-n).
    """
    units = [word.casefold() for word in words(text)]
    marks = [c for c in text if not (c.isalnum() or c.isspace())]
    if len(marks) > sum(map(len, units)):
        units = marks
    elif sum(map(len, units)) > ENDLESS * len(units):
        units, n = list("".join(units)), 2 * n
    elif 2 * sum(map(is_ideograph, units)) > len(units):
        n = 2 * n
    grams = list(zip(*(units[i:] for i in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def listed(entries: tuple[str, ...], text: str) -> int:
    """How often a text holds one of some words and phrases, whole words only where a script has spaces."""
    spelt = spellings(text)
    return sum(
        tuple(spelt[start : start + length]) in known
        for length, known in _by_length(entries).items()
        for start in range(len(spelt) - length + 1)
    )


@lru_cache(maxsize=64)
def _by_length(entries: tuple[str, ...]) -> dict[int, frozenset[tuple[str, ...]]]:
    """The entries' spellings by their number of words."""
    spelt = {tuple(spellings(entry)) for entry in entries}
    return {length: frozenset(e for e in spelt if len(e) == length) for length in sorted({len(e) for e in spelt})}
