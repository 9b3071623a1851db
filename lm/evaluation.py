"""How well a version answers a suite: accuracy, BLEU, ROUGE and perplexity with their intervals, by skill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from sacrebleu.metrics.bleu import BLEU, BLEUScore

from lm.lengths import answer_limit
from lm.prompts import fit_chat
from lm.settings import Sampling
from lm.starter.styles import bare
from lm.suites import Item, correct, has_chinese, score
from problems import Problem

if TYPE_CHECKING:
    from lm.engine import Engine

_RESAMPLES = 1000


class Estimate(TypedDict):
    """A figure and its 95 % interval: 1,000 bootstrap resamples of the items (Efron and Tibshirani 1993, ch. 13)."""

    value: float
    low: float
    high: float


class SkillScore(TypedDict):
    """One skill's row of a report; see `SuiteReport.by_skill`."""

    n: int
    accuracy: float
    low: float
    high: float
    bleu: Estimate | None
    rouge: Estimate | None
    perplexity: Estimate | None


@dataclass(frozen=True)
class SuiteReport:
    """The result of one suite.

    Attributes:
        low, high: 95 % Wilson interval of `accuracy`.
        by_skill: for each skill n, accuracy, low, high; bleu (0 to 100, corpus BLEU) and rouge (0 to 1, mean ROUGE-L F)
            where the skill has items of that metric, None elsewhere; perplexity, a token of the right answers, None
            where it was not measured.
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


@dataclass(frozen=True)
class Likelihood:
    """What a right answer cost a model: negative log-likelihood in nats, over so many tokens."""

    nats: float
    tokens: int


def evaluate(
    engine: Engine,
    version: str,
    items: Sequence[Item],
    sampling: Sampling,
    progress: Callable[[int], None] | None = None,
) -> SuiteReport:
    """Ask `version` every item once and score the answers; measure the perplexity of the right ones.

    As `answers_to`, which is enough where only the verdicts are wanted.
    """
    answers = answers_to(engine, version, items, sampling, progress)
    return report(items, answers, likelihoods(engine, version, items, _prompts(engine, items, sampling)))


def answers_to(
    engine: Engine,
    version: str,
    items: Sequence[Item],
    sampling: Sampling,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """What `version` answers to every item, asked once.

    `sampling.seed`, if given, is the first item's; each following item takes the next number, so that a sampled
    evaluation repeats and its answers still differ. `progress` hears how many are answered.

    Raises:
        Problem: no items, or a prompt that no context can hold.
    """
    if not items:
        raise Problem("There is nothing to evaluate: the suite is empty.", hint="Give a suite with at least one item.")
    sampling = replace(sampling, max_tokens=answer_limit(sampling, engine.context))
    samplings = [
        sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)
        for index in range(len(items))
    ]
    done = engine.generate(_prompts(engine, items, sampling), samplings, version, progress)
    return [completion.text for completion in done]


def accuracy_by_skill(items: Sequence[Item], answers: Sequence[str]) -> dict[str, float]:
    """Share of right answers of each skill, in the order in which the skills first come."""
    right = right_by_skill(items, answers)
    return {skill: sum(verdicts) / len(verdicts) for skill, verdicts in right.items()}


def right_by_skill(items: Sequence[Item], answers: Sequence[str]) -> dict[str, list[bool]]:
    """Whether each answer is right, by skill, in the order of the items."""
    right: dict[str, list[bool]] = {}
    for item, answer in zip(items, answers, strict=True):
        right.setdefault(item.skill, []).append(correct(item, answer))
    return right


def _prompts(engine: Engine, items: Sequence[Item], sampling: Sampling) -> list[list[int]]:
    room = engine.context - min(answer_limit(sampling, engine.context), engine.context // 2)
    return [fit_chat(engine.base, item.messages, room) for item in items]


def likelihoods(engine: Engine, version: str, items: Sequence[Item], prompts: Sequence[list[int]]) -> list[Likelihood]:
    """Likelihood of each item's right answer after its prompt, without the token that ends it."""
    wanted = [item.answer or item.references[0] for item in items]
    encoded = engine.base.tokenizer(wanted, add_special_tokens=False)["input_ids"]
    answers = [ids[: engine.context - len(prompt)] for ids, prompt in zip(encoded, prompts, strict=True)]
    found = engine.likelihood(prompts, answers, version)
    return [Likelihood(-value, len(ids)) for value, ids in zip(found, answers, strict=True)]


def report(
    items: Sequence[Item], answers: Sequence[str], right_answers: Sequence[Likelihood] | None = None
) -> SuiteReport:
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
            "perplexity": _perplexity([right_answers[i] for i in rows]) if right_answers is not None else None,
        }
    low, high = wilson(sum(right), len(right))
    return SuiteReport(len(items), sum(right) / len(right), low, high, by_skill, list(answers), right)


def table(suite: str, measured: SuiteReport) -> str:
    """The report as text: a row for the suite and one a skill, each figure with its interval."""
    columns = f"{'':<24} {'n':>5}  {'accuracy':<21}  {'BLEU':<19}  {'ROUGE-L':<21}  perplexity"
    rows = [columns, _row(suite, measured.n, (measured.accuracy, measured.low, measured.high), {})]
    for skill, found in measured.by_skill.items():
        graded = {"bleu": found["bleu"], "rouge": found["rouge"], "perplexity": found["perplexity"]}
        rows.append(_row(f"{suite}/{skill}", found["n"], (found["accuracy"], found["low"], found["high"]), graded))
    return "\n".join(rows)


def _row(name: str, n: int, accuracy: tuple[float, float, float], graded: dict[str, Estimate | None]) -> str:
    cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*accuracy)]
    for metric, digits, width in (("bleu", 1, 19), ("rouge", 3, 21), ("perplexity", 2, 0)):
        found = graded.get(metric)
        text = "" if found is None else "{value:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(**found, d=digits)
        cells.append(text.ljust(width))
    return f"{name:<24} {n:>5}  {cells[0]:<21}  {'  '.join(cells[1:])}".rstrip()


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


def _bleu(graded: list[tuple[Item, str]]) -> Estimate | None:
    """Corpus BLEU (Papineni et al. 2002) by sacrebleu; its Chinese tokenizer where any reference is Chinese."""
    if not graded:
        return None
    chinese = any(has_chinese(reference) for item, _ in graded for reference in item.references)
    metric = BLEU(tokenize="zh" if chinese else "13a")
    # What BLEU counts in each answer: the score of a corpus follows from the sums, so a resample is cheap.
    counted = np.array([_counts(metric.corpus_score([bare(a)], [[r] for r in item.references])) for item, a in graded])

    def corpus(rows: np.ndarray) -> float:
        sums = counted[rows].sum(0).tolist()
        n = metric.max_ngram_order
        return float(BLEU.compute_bleu(sums[:n], sums[n : 2 * n], sums[-2], sums[-1], metric.smooth_method).score)

    return _bootstrap(len(graded), corpus)


def _counts(found: BLEUScore) -> list[int]:
    return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def _rouge(graded: list[tuple[Item, str]]) -> Estimate | None:
    if not graded:
        return None
    scores = np.array([score(item, answer) for item, answer in graded])
    return _bootstrap(len(scores), lambda rows: float(scores[rows].mean()))


def _perplexity(found: Sequence[Likelihood]) -> Estimate:
    """exp of the mean negative log-likelihood a token."""
    nats, tokens = np.array([each.nats for each in found]), np.array([each.tokens for each in found])
    return _bootstrap(len(found), lambda rows: float(np.exp(nats[rows].sum() / tokens[rows].sum())))


def _bootstrap(n: int, figure: Callable[[np.ndarray], float]) -> Estimate:
    """The figure of all `n` rows and the middle 95 % of it over resamples, the same at each call."""
    rng = np.random.default_rng(0)
    drawn = sorted(figure(rng.integers(n, size=n)) for _ in range(_RESAMPLES))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": figure(np.arange(n)), "low": float(low), "high": float(high)}
