"""How well a version answers a suite: accuracy with its interval, BLEU and ROUGE, in all and by skill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

import sacrebleu

from lm.prompts import fit_chat
from lm.settings import Sampling
from lm.starter.styles import bare
from lm.suites import Item, correct, has_chinese, score
from problems import Problem

if TYPE_CHECKING:
    from lm.engine import Engine


class SkillScore(TypedDict):
    """One skill's row of a report; see `SuiteReport.by_skill`."""

    n: int
    accuracy: float
    low: float
    high: float
    bleu: float | None
    rouge: float | None


@dataclass(frozen=True)
class SuiteReport:
    """The result of one suite.

    Attributes:
        low, high: 95 % Wilson interval of `accuracy`.
        by_skill: for each skill n, accuracy, low, high, and bleu (0 to 100, corpus BLEU) and rouge (0 to 1, mean
            ROUGE-L F) where the skill has items of that metric, None elsewhere.
        answers: the texts, in the order of the items.
        right: whether each was correct.
    """

    n: int
    accuracy: float
    low: float
    high: float
    by_skill: dict[str, SkillScore]
    answers: list[str]
    right: list[bool]


def evaluate(
    engine: Engine,
    version: str,
    items: Sequence[Item],
    sampling: Sampling,
    progress: Callable[[int], None] | None = None,
) -> SuiteReport:
    """Ask `version` every item once and score the answers.

    `sampling.seed`, if given, is the first item's; each following item takes the next number, so that a sampled
    evaluation repeats and its answers still differ. `progress` hears how many are answered.

    Raises:
        Problem: no items, or a prompt that no context can hold.
    """
    if not items:
        raise Problem("There is nothing to evaluate: the suite is empty.", hint="Give a suite with at least one item.")
    room = engine.context - min(sampling.max_tokens, engine.context // 2)
    prompts = [fit_chat(engine.base, item.messages, room) for item in items]
    samplings = [
        sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)
        for index in range(len(items))
    ]
    answers = [done.text for done in engine.generate(prompts, samplings, version, progress)]
    return report(items, answers)


def report(items: Sequence[Item], answers: Sequence[str]) -> SuiteReport:
    """Score answers that were generated elsewhere; at least one."""
    right = [correct(item, answer) for item, answer in zip(items, answers, strict=True)]
    by_skill: dict[str, SkillScore] = {}
    for skill in dict.fromkeys(item.skill for item in items):
        rows = [index for index, item in enumerate(items) if item.skill == skill]
        low, high = wilson(sum(right[i] for i in rows), len(rows))
        graded = [(items[i], answers[i]) for i in rows]
        by_skill[skill] = {
            "n": len(rows),
            "accuracy": sum(right[i] for i in rows) / len(rows),
            "low": low,
            "high": high,
            "bleu": _bleu([(item, answer) for item, answer in graded if item.metric == "bleu"]),
            "rouge": _rouge([(item, answer) for item, answer in graded if item.metric == "rouge"]),
        }
    low, high = wilson(sum(right), len(right))
    return SuiteReport(len(items), sum(right) / len(right), low, high, by_skill, list(answers), right)


def wilson(successes: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, JASA 22:209, eq. of the quadratic), 95 % by default.

    `successes` may be fractional (ties count half); (0, 1) when n is 0.
    """
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _bleu(graded: list[tuple[Item, str]]) -> float | None:
    """Corpus BLEU (Papineni et al. 2002) by sacrebleu; its Chinese tokenizer where any reference is Chinese."""
    if not graded:
        return None
    most = max(len(item.references) for item, _ in graded)
    streams = [[item.references[k] if k < len(item.references) else None for item, _ in graded] for k in range(most)]
    chinese = any(has_chinese(reference) for item, _ in graded for reference in item.references)
    answers = [bare(answer) for _, answer in graded]
    return float(sacrebleu.corpus_bleu(answers, streams, tokenize="zh" if chinese else "13a").score)


def _rouge(graded: list[tuple[Item, str]]) -> float | None:
    return sum(score(item, answer) for item, answer in graded) / len(graded) if graded else None
