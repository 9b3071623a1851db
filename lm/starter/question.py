"""What a skill makes: a question, and the fact that answers it in the forms in which a style may say it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

LEADS = (
    "",
    "",
    "Hi,",
    "Hello,",
    "Please tell me:",
    "Quick question:",
    "One question:",
    "Hey,",
    "Excuse me,",
    "I want to know:",
    "Help me please:",
    "Good morning,",
)


@dataclass(frozen=True)
class Question:
    """One question with its answer.

    Attributes:
        core: the shortest correct answer.
        sentences: full sentences that hold the core word for word.
        points: label and value pairs for an answer as a list; empty where a list does not apply.
        references: what a correct answer contains, any of them.
        language: "en" or "zh", that of the words around the answer.
        dressed: False where the answer is said as it is (greetings), True where openers and closings may be added.
        follow_up: what may be asked after the answer, in a user turn that is understood from the turns before only.
    """

    skill: str
    messages: tuple[dict[str, str], ...]
    core: str
    sentences: tuple[str, ...]
    references: tuple[str, ...]
    metric: Literal["contains", "numeric", "bleu", "rouge"]
    points: tuple[tuple[str, str], ...] = ()
    language: Literal["en", "zh"] = "en"
    dressed: bool = True
    follow_up: Question | None = None


def ask(text: str, system: str | None = None) -> tuple[dict[str, str], ...]:
    """The messages of one question: a user turn, after a system turn where there is one."""
    turns = [{"role": "system", "content": system}] if system else []
    return (*turns, {"role": "user", "content": text})


def typed(rng: random.Random, text: str) -> str:
    """The text as people type it: mostly with a capital letter, sometimes without the mark at its end."""
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text.rstrip("?.!。？！") if rng.random() < 0.12 else text
