"""Four tasks that contradict each other, one after the other: each skill of the starter with its own hidden preference.

A task pays for a manner, recognised by program, and takes something off for a wrong answer. Prompts of training come
from the training half of the starter's world, those that are measured from the test half. Every task wants what another
one pays against: courtesies or none, formal or casual, a list or prose, so that what is learned for one skill spoils
the manner of the others as far as they share weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lm.adapters import Adapter
from lm.engine import Engine
from lm.loading import Base
from lm.prompts import Message, fit_chat
from lm.settings import EngineSettings, Sampling
from lm.starter.skills import questions
from lm.starter.styles import has_closing, has_emoji, has_opener, is_casual, is_formal, is_list, is_terse
from lm.starter.worlds import Split
from lm.suites import Item, correct

MISTAKE = (
    0.75  # what a wrong answer costs; a manner wholly as wanted is worth 1, as with the personas of the simulation
)
ANSWER = 56  # longest answer, tokens; the starter's longest are 53
DRAWN = 12  # questions drawn for each that is wanted; of summaries one in nine is short
PROMPT = 48  # longest prompt, tokens: the shorter half of service and summaries, nearly all of the others


@dataclass(frozen=True)
class Task:
    """A skill and what is liked about its answers: a manner is as wanted when every one of `wants` holds."""

    skill: str
    about: str
    wants: tuple[Callable[[str], bool], ...]

    def manner(self, answer: str) -> float:
        """Share of the wishes that the answer meets, 0 to 1; an empty answer meets none."""
        return sum(wish(answer) for wish in self.wants) / len(self.wants) if answer.strip() else 0.0


def _not(recogniser: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: not recogniser(text)


TASKS = (
    Task("service", "formal, opens and closes politely", (has_opener, has_closing, is_formal)),
    Task("translation", "terse, without emoji", (is_terse, _not(has_emoji))),
    Task("summarisation", "a list with an emoji", (is_list, has_emoji)),
    Task("education", "casual, in prose, with a greeting", (is_casual, has_opener, _not(is_list))),
)


class Payment:
    """Reward of an answer to a prompt of any of the tasks: the manner, less what a mistake costs."""

    def __init__(self, tasks: Sequence[Task], items: Sequence[Item]) -> None:
        self.tasks = {task.skill: task for task in tasks}
        self.items = {str(item.messages): item for item in items}

    def __call__(self, messages: Sequence[Message], answer: str) -> float:
        item = self.items[str(list(messages))]
        return self.tasks[item.skill].manner(answer) - (0.0 if correct(item, answer) else MISTAKE)


@dataclass(frozen=True)
class Measured:
    """By task, in the order of `TASKS`: share of answers wholly in the manner wanted, and share that are right."""

    wanted: list[float]
    right: list[float]


@lru_cache(maxsize=64)
def short_items(base: Base, split: Split, seed: int, n: int, skill: str) -> list[Item]:
    """Up to `n` questions whose prompt is short, so that a stream of tasks takes a minute."""
    drawn = questions(split, seed, DRAWN * n, skill)
    return [item for item in drawn if len(fit_chat(base, item.messages, base.context)) <= PROMPT][:n]


def measure(base: Base, adapter: Adapter | None, seed: int, prompts: int) -> Measured:
    """Ask held-out prompts of every task at temperature 1, as the rollouts do; same prompts and draws for same seed."""
    wanted, right = [], []
    with Engine(base, EngineSettings(slots=64, context=PROMPT + ANSWER)) as engine:
        engine.install("measured", adapter)
        for task in TASKS:
            items = short_items(base, "test", seed, prompts, task.skill)
            ids = [fit_chat(base, item.messages, PROMPT) for item in items]
            samplings = [Sampling(temperature=1.0, max_tokens=ANSWER, seed=seed * 100_003 + i) for i in range(len(ids))]
            said = [done.text for done in engine.generate(ids, samplings, "measured")]
            wanted.append(sum(task.manner(text) == 1.0 for text in said) / len(said))
            right.append(sum(correct(item, text) for item, text in zip(items, said, strict=True)) / len(said))
    return Measured(wanted, right)
