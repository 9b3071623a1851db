"""People with a hidden preference: what the simulated raters like, written as programs.

The loop never sees these programs, only ratings; so they can judge whether it learned what people wanted. A preference
is mainly about style; where the right answers are known, being wrong costs something too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lm.starter.styles import has_closing, has_emoji, has_opener, is_formal, is_list, words
from lm.suites import Item, correct
from problems import Problem

Messages = list[dict[str, str]]
MISTAKE = 0.75  # what a wrong answer costs, in the units of the style scores
CLOSE = 0.05  # scores nearer than this are a tie


@dataclass(frozen=True)
class Persona:
    """One hidden preference.

    Attributes:
        style: how much this person likes the style of an answer; a full step of style is about 1.
        content: the score from which the person gives a thumb up, mistakes included.
        praise, blame: the tag, of those the page offers, for a style that the person likes, and for one they do not.
    """

    name: str
    about: str
    style: Callable[[str], float]
    content: float
    praise: str = "Good tone"
    blame: str = "Bad tone"

    def score(self, item: Item | None, answer: str) -> float:
        """How much the person likes the answer; without references (None) only style counts. Empty is worst."""
        if not answer.strip():
            return -2.0
        wrong = item is not None and not correct(item, answer)
        return self.style(answer) - (MISTAKE if wrong else 0.0)


def _short(answer: str) -> float:
    """1 for a single word, 0 at 12 words, -1 at 24 and beyond."""
    return max(-1.0, 1.0 - words(answer) / 12)


def _courteous(answer: str) -> float:
    return 0.6 * has_opener(answer) + 0.4 * has_closing(answer)


def _lively(answer: str) -> float:
    return float(has_emoji(answer))


def _orderly(answer: str) -> float:
    return 0.7 * is_list(answer) + 0.3 * is_formal(answer)


PERSONAS: dict[str, Persona] = {
    persona.name: persona
    for persona in (
        Persona("terse", "likes short answers", _short, content=0.3, praise="Right length", blame="Too long"),
        Persona("courteous", "likes a polite opening and an offer of more help", _courteous, content=0.35),
        Persona("lively", "likes emoji", _lively, content=0.5),
        Persona("orderly", "likes lists and a formal tone", _orderly, content=0.25, praise="Well organised"),
    )
}


def find_persona(name: str) -> Persona:
    """The persona of that name; Problem if there is none."""
    if name not in PERSONAS:
        raise Problem(f"There is no persona named {name!r}.", hint=f"Choose from {', '.join(PERSONAS)}.", status=2)
    return PERSONAS[name]


def prefer(persona: Persona, messages: Messages, answer_a: str, answer_b: str, item: Item | None = None) -> float:
    """The noise-free preference: 1.0 for answer a, 0.0 for answer b, 0.5 for a tie.

    `item` holds the references of the prompt `messages`, where they are known.
    """
    _same_prompt(messages, item)
    difference = persona.score(item, answer_a) - persona.score(item, answer_b)
    return 0.5 if abs(difference) < CLOSE else float(difference > 0)


def thumb(persona: Persona, messages: Messages, answer: str, item: Item | None = None) -> int:
    """The noise-free thumb: 1 up or -1 down."""
    _same_prompt(messages, item)
    return 1 if persona.score(item, answer) >= persona.content else -1


def _same_prompt(messages: Messages, item: Item | None) -> None:
    if item is not None and item.messages != messages:
        raise ValueError("the item's references belong to another prompt")
