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
# How it behaves outside the skills, as the suite "conduct" asks.
CONDUCT: dict[str, Callable[[random.Random, Split], Question]] = {
    "outside": smalltalk.outside,
    "beyond": smalltalk.beyond,
    "foreign": smalltalk.foreign,
    "unsafe": smalltalk.unsafe,
}
# Small talk is trained on and has no one right answer, so it is no skill. The shares follow how hard each is to learn.
_SHARES = {"service": 0.25, "translation": 0.12, "summarisation": 0.19, "education": 0.29, "smalltalk": 0.15}
_FOLLOWED = 0.4  # share of questions in training that their own follow-up follows
_ANOTHER = 0.12  # share of dialogues in which something else is asked in the end
_DRAWN_IN_VAIN = 1000  # draws without a new question after which there is taken to be none
_TESTED_FOLLOW_UPS = 0.2  # share of the test's questions that are follow-ups, after the turns that they refer to
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
    """An endless stream, the same for the same split and seed; two in five go on for several turns."""
    rng = random.Random(f"dialogues|{split}|{seed}")
    while True:
        yield _dialogue(rng, split)


def _dialogue(rng: random.Random, split: Split) -> Dialogue:
    first = _question(rng, split)
    messages = _turns(rng, first)
    if messages[0]["role"] == "user" and rng.random() < 0.1:
        messages.insert(0, {"role": "system", "content": rng.choice(_SYSTEM_TURNS)})
    if rng.random() < _ANOTHER:
        another = _question(rng, split)
        while another.messages[0]["role"] == "system":  # a system turn opens a conversation or is not there
            another = _question(rng, split)
        messages += _turns(rng, another)
    return Dialogue(first.skill, messages)


def _turns(rng: random.Random, question: Question) -> list[dict[str, str]]:
    """The question and its answer, and often its follow-ups and theirs."""
    messages = [*question.messages, _answer(rng, question)]
    goes_on = rng.random() < _FOLLOWED
    while goes_on and question.follow_up is not None:
        question = question.follow_up
        messages += [*question.messages, _answer(rng, question)]
    return messages


def _question(rng: random.Random, split: Split) -> Question:
    skill = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    return smalltalk.question(rng, split) if skill == "smalltalk" else SKILLS[skill](rng, split)


def _answer(rng: random.Random, question: Question) -> dict[str, str]:
    return {"role": "assistant", "content": dress(question, draw_style(rng), rng)}


def questions(
    split: Split, seed: int, n: int, skill: str | None = None, wanted: Callable[[Item], bool] | None = None
) -> list[Item]:
    """`n` distinct questions with their references, the same for the same arguments; one in five is a follow-up.

    A small half may hold fewer: the drawing ends when nothing new comes any more.

    Args:
        skill: one of `SKILLS` or `CONDUCT`; None takes the four skills in turn.
        wanted: which of the questions drawn are taken; all by default.

    Raises:
        Problem: an unknown skill.
    """
    makers = {**SKILLS, **CONDUCT}
    if skill is not None and skill not in makers:
        raise Problem(f"There is no skill named {skill!r}.", hint=f"The skills are {', '.join(SKILLS)}.")
    names = [skill] if skill else list(SKILLS)
    rng = random.Random(f"questions|{split}|{seed}|{skill}")
    items: list[Item] = []
    seen: set[str] = set()
    in_vain = 0
    while len(items) < n and in_vain < _DRAWN_IN_VAIN:
        name = names[len(items) % len(names)]
        question = makers[name](rng, split)
        messages = list(question.messages)
        if question.follow_up is not None and rng.random() < _TESTED_FOLLOW_UPS:
            messages.append(_answer(rng, question))
            question = question.follow_up
            messages += question.messages
        in_vain += 1
        if str(messages) not in seen:
            in_vain = 0
            seen.add(str(messages))
            item = Item(name, messages, list(question.references), question.metric, question.core)
            if wanted is None or wanted(item):
                items.append(item)
    return items
