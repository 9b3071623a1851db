"""How far a reward model can be trusted: its figures on the holdout, which it never saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from lm.evaluation import wilson
from reward.evidence import Evidence, evidence_from
from reward.model import RewardModel
from store.datasets import Frozen

BINS = 10  # of the calibration curve


@dataclass(frozen=True, kw_only=True)
class RewardReport:
    """Holdout figures of a reward model.

    Attributes:
        accuracy, low, high, n: share of decided pairs whose preferred answer scores higher, its 95 % Wilson interval,
        and
            their number. NaN where the holdout has no decided pair.
        ece: expected calibration error of the pair chances, 0 to 1 [arXiv 1706.04599, equation 3].
        by_kind: `pair` and `thumb`, each with n, accuracy, low, high.
        calibration: bins of the chance given to the answer thought better: chance, accuracy, n.
        length_slope: rewards (in deviations) per tenfold longer answer; 0 means that length alone buys nothing.
        head_agreement: share of pairs on which two heads agree, averaged over all couples of heads.
        train, holdout: ratings in each split.
        crossfit: accuracy, low, high, n, ece, ece_before on training pairs, each by heads that did not learn from its
            person or conversation.
        ceiling: accuracy, n: how often two people agree on the same two answers.
        length: slope, slope_raw (with the length head), points: tokens, reward, raw reward.
        people: Krippendorff's alpha by kind; None where it is not known.
        raters: person, ratings, share, weight, reliability, suspicions, group.
        curve: ratings, accuracy, low, high, n.
        rules: by rule, mean and share.
        regime: what was fitted: heads or lora.
    """

    accuracy: float
    low: float
    high: float
    n: int
    ece: float
    by_kind: dict[str, dict[str, float]]
    calibration: list[dict[str, float]]
    length_slope: float = 0.0
    head_agreement: float
    train: int
    holdout: int
    dataset: str
    crossfit: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    length: dict[str, Any] = field(default_factory=dict)
    people: dict[str, float | None] = field(default_factory=dict)
    raters: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    rules: dict[str, dict[str, float]] = field(default_factory=dict)
    regime: str = "heads"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return asdict(self)

    def to_text(self) -> str:
        """The report in a few lines."""
        lines = [
            f"{kind}: {row['accuracy']:.3f} right on the holdout [{row['low']:.3f}, {row['high']:.3f}], n={row['n']}"
            for kind, row in self.by_kind.items()
            if row["n"]
        ]
        lines.append(
            f"calibration error {self.ece:.3f}, length slope {self.length_slope:+.2f}, heads agree on "
            f"{self.head_agreement:.0%} of pairs; {self.train} ratings to train on, {self.holdout} held out"
        )
        return "\n".join(lines)


@torch.no_grad()
def reward_report(model: RewardModel, frozen: Frozen) -> RewardReport:
    """Measure a reward model on the holdout of the dataset that it was fitted to."""
    evidence = evidence_from(model.base, frozen, "holdout", context=model.settings.context)
    rewards = model.heads(evidence.features)
    decided = evidence.outcome != 0.5
    difference = (rewards[:, evidence.first] - rewards[:, evidence.second])[:, decided]
    correct = (difference.mean(0) > 0) == (evidence.outcome[decided] > 0.5)
    accuracy = _share(correct)
    ece, calibration = _calibration(torch.sigmoid(difference.mean(0) / model.temperature), evidence.outcome[decided])
    return RewardReport(
        **accuracy,
        ece=ece,
        by_kind={"pair": accuracy, "thumb": _share(_thumbs_right(model, evidence, rewards))},
        calibration=calibration,
        length_slope=_length_slope(evidence.features[:, -1], rewards.mean(0) / model.spread, model.settings.context),
        head_agreement=_agreement(difference),
        train=len(frozen.pairs) + len(frozen.thumbs) - len(evidence),
        holdout=len(evidence),
        dataset=frozen.hash,
    )


def _share(correct: Tensor) -> dict[str, Any]:
    n, hits = len(correct), int(correct.sum())
    low, high = wilson(hits, n)
    return {"accuracy": hits / n if n else float("nan"), "low": low, "high": high, "n": n}


def _thumbs_right(model: RewardModel, evidence: Evidence, rewards: Tensor) -> Tensor:
    """Whether each holdout thumb [T] is on the side of its person's threshold that the mean reward is on.

    People whom the model never met get the mean threshold of those whom it did.
    """
    thresholds = model.heads.threshold.mean(0)
    known = {person: i for i, person in enumerate(model.people)}
    threshold = torch.stack(
        [
            thresholds[known[name]] if (name := evidence.people[int(p)]) in known else thresholds.mean()
            for p in evidence.person
        ]
        or [torch.zeros(())]
    )[: len(evidence.person)]
    return (rewards.mean(0)[evidence.answer] > threshold) == (evidence.liked > 0.5)


def _calibration(chance: Tensor, outcome: Tensor) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error and curve of the chance given to the answer that is thought better."""
    confident = torch.maximum(chance, 1 - chance)
    right = ((chance > 0.5) == (outcome > 0.5)).float()
    edges = torch.linspace(0.5, 1.0, BINS + 1)
    number = torch.bucketize(confident, edges[1:-1])
    curve, error = [], 0.0
    for i in range(BINS):
        inside = number == i
        if n := int(inside.sum()):
            mean, accuracy = float(confident[inside].mean()), float(right[inside].mean())
            curve.append({"chance": mean, "accuracy": accuracy, "n": n})
            error += n / len(chance) * abs(mean - accuracy)
    return error, curve


def _length_slope(log_length: Tensor, reward: Tensor, context: int) -> float:
    """Least-squares slope of reward [A] against log10 of answer length; `log_length` is log(tokens) / log(context)."""
    if len(reward) < 2:
        return 0.0
    tenfold = log_length * torch.log10(torch.tensor(float(context)))
    centred = tenfold - tenfold.mean()
    return float((centred * reward).sum() / (centred**2).sum().clamp(min=1e-12))


def _agreement(difference: Tensor) -> float:
    """Share of pairs [K, P] on which two different heads prefer the same answer."""
    heads, pairs = difference.shape
    if heads < 2 or not pairs:
        return 1.0
    votes = (difference > 0).float().sum(0)
    same = votes * (votes - 1) + (heads - votes) * (heads - votes - 1)
    return float((same / (heads * (heads - 1))).mean())
