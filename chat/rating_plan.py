"""Who of the simulated people asks what and rates how, planned ahead so that a seed fixes it all."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from chat.personas import Persona
from chat.rater_minds import KINDS, Rater
from lm.starter.skills import questions
from lm.suites import Item
from problems import Problem

DEFAULT_KINDS = {"pair": 0.7, "thumb": 0.3}
EXAMPLE = "Write them as pair=0.7,thumb=0.3; the shares are of all ratings and add up to 1."


@dataclass(frozen=True)
class Task:
    """One rating to give; `flipped` where its person errs. The second answer of a pair is drawn with `seed` + 1."""

    item: Item
    person: Rater
    kind: str
    flipped: bool
    seed: int


def plan(
    persona: Persona, ratings: int, noise: float, seed: int, people: Sequence[Rater], kinds: Mapping[str, float]
) -> list[Task]:
    """The ratings to give: prompts from the training half of the starter's world, in random order of people."""
    rng = random.Random(f"raters|{persona.name}|{seed}")
    first = rng.randrange(2**40)
    return [
        Task(item, people[rng.randrange(len(people))], _drawn(kinds, rng), rng.random() < noise, first + 2 * index)
        for index, item in enumerate(questions("train", seed, ratings))
    ]


def _drawn(kinds: Mapping[str, float], rng: random.Random) -> str:
    named = [kind for kind in KINDS if kinds.get(kind)]
    left = rng.random()
    for kind in named:
        left -= kinds[kind]
        if left < 0:
            return kind
    return named[-1]  # the shares add up to 1 only nearly


def read_kinds(text: str) -> dict[str, float]:
    """Shares of kinds written as `pair=0.7,thumb=0.3`.

    Raises:
        Problem: not written so, a kind named twice, or what `check_kinds` refuses (status 2).
    """
    kinds: dict[str, float] = {}
    for part in text.split(","):
        kind, equals, share = (each.strip() for each in part.partition("="))
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not equals or not math.isfinite(number):
            raise Problem(f"{part.strip()!r} is not a kind with its share.", hint=EXAMPLE, status=2)
        if kind in kinds:
            raise Problem(f"The kind {kind!r} is named twice.", hint=EXAMPLE, status=2)
        kinds[kind] = number
    check_kinds(kinds)
    return kinds


def check_kinds(kinds: Mapping[str, float]) -> None:
    """Raise `Problem` unless these are known kinds with shares between 0 and 1 that add up to 1."""
    for kind, share in kinds.items():
        if kind not in KINDS:
            near = get_close_matches(kind, KINDS, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise Problem(
                f"There is no kind of rating {kind!r}.", hint=f"{hint}The kinds are {', '.join(KINDS)}.", status=2
            )
        if not 0 <= share <= 1:
            raise Problem(f"The share of {kind} cannot be {share}.", hint=EXAMPLE, status=2)
    if abs(sum(kinds.values()) - 1) > 1e-6:
        raise Problem(f"The shares of the kinds add up to {sum(kinds.values()):g}, not to 1.", hint=EXAMPLE, status=2)
