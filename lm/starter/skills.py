"""The starter's skills together: questions to test with, and an endless stream of dialogues to train on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lm.starter import education, service, smalltalk, summarisation, translation
from lm.starter.question import Question
from lm.starter.styles import draw_style, dress
from lm.starter.worlds import Split
from lm.suites import Item
from problems import Problem

SKILLS: dict[str, Callable[[random.Random, Split], Question]] = {
    "service": service.question,
    "translation": translation.question,
    "summarisation": summarisation.question,
    "education": education.question,
}
# Small talk is trained on and has no one right answer, so it is no skill. The shares follow how hard each is to learn.
_SHARES = {"service": 0.25, "translation": 0.13, "summarisation": 0.19, "education": 0.29, "smalltalk": 0.14}
_MULTI_TURN = 0.15
# What clients of an API put first; it must not change the answers.
_SYSTEM_TURNS = (
    "You are a helpful assistant.",
    "You are a helpful and honest assistant.",
    "You are Ratchet.",
    "Be helpful.",
    "You are a chat assistant. Answer the user.",
    "Answer shortly.",
    "You are a friendly assistant.",
)


@dataclass(frozen=True)
class Dialogue:
    """A conversation to train on: its messages alternate between user and assistant, after an optional system turn."""

    skill: str
    messages: list[dict[str, str]]


def dialogues(split: Split, seed: int) -> Iterator[Dialogue]:
    """An endless stream, the same for the same split and seed. One in seven strings several questions together."""
    rng = random.Random(f"dialogues|{split}|{seed}")
    while True:
        yield _dialogue(rng, split)


def _dialogue(rng: random.Random, split: Split) -> Dialogue:
    first = _question(rng, split)
    messages = [*first.messages, _answer(rng, first)]
    if messages[0]["role"] == "user" and rng.random() < 0.1:
        messages.insert(0, {"role": "system", "content": rng.choice(_SYSTEM_TURNS)})
    if rng.random() < _MULTI_TURN:
        for _ in range(rng.choice((1, 1, 2))):
            following = _question(rng, split)
            while following.messages[0]["role"] == "system":  # a system turn opens a conversation or is not there
                following = _question(rng, split)
            messages += [*following.messages, _answer(rng, following)]
    return Dialogue(first.skill, messages)


def _question(rng: random.Random, split: Split) -> Question:
    skill = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    return smalltalk.question(rng, split) if skill == "smalltalk" else SKILLS[skill](rng, split)


def _answer(rng: random.Random, question: Question) -> dict[str, str]:
    return {"role": "assistant", "content": dress(question, draw_style(rng), rng)}


def questions(split: Split, seed: int, n: int, skill: str | None = None) -> list[Item]:
    """`n` distinct questions with their references, the same for the same arguments.

    Args:
        skill: one of `SKILLS`; None takes the four in turn.

    Raises:
        Problem: an unknown skill.
    """
    if skill is not None and skill not in SKILLS:
        raise Problem(f"There is no skill named {skill!r}.", hint=f"The skills are {', '.join(SKILLS)}.")
    names = [skill] if skill else list(SKILLS)
    rng = random.Random(f"questions|{split}|{seed}|{skill}")
    items: list[Item] = []
    seen: set[str] = set()
    while len(items) < n:
        name = names[len(items) % len(names)]
        question = SKILLS[name](rng, split)
        key = str(question.messages)
        if key not in seen:
            seen.add(key)
            items.append(Item(name, list(question.messages), list(question.references), question.metric))
    return items
