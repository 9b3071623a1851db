"""Reports of reward models that were never fitted, for what only reads a report, and ratings whose truth is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reward.evidence import KINDS, Evidence, Ratings
from reward.report import RewardReport

NAN = float("nan")


@pytest.fixture
def full() -> RewardReport:
    """A report with every figure known."""
    return RewardReport(
        accuracy=0.708,
        low=0.644,
        high=0.765,
        n=212,
        ece=0.034,
        by_kind={
            "pair": {"n": 212, "accuracy": 0.708, "low": 0.644, "high": 0.765},
            "thumb": {"n": 130, "accuracy": 0.66, "low": 0.575, "high": 0.736},
            "tags": {"n": 0, "accuracy": NAN, "low": NAN, "high": NAN},
        },
        crossfit={"accuracy": 0.724, "low": 0.698, "high": 0.749, "n": 1180, "ece": 0.028, "ece_before": 0.094},
        ceiling={"accuracy": 0.741, "n": 143},
        calibration=[{"chance": 0.525 + 0.05 * i, "accuracy": 0.53 + 0.04 * i, "n": 40 - 3 * i} for i in range(10)],
        length={"slope": 0.08, "slope_raw": 0.93, "points": [[t, 0.1 * t % 2, 0.2 * t % 3] for t in range(3, 90)]},
        head_agreement=0.88,
        people={"thumb": 0.41, "pair": 0.52, "score": None},
        raters=[rater("ann", share=0.35), rater("ben", share=0.3), rater("cy", share=0.25), rater("dee", share=0.1)],
        curve=[
            {"ratings": 120, "accuracy": 0.61, "low": 0.58, "high": 0.64, "n": 1180},
            {"ratings": 480, "accuracy": 0.69, "low": 0.66, "high": 0.72, "n": 1180},
            {"ratings": 1392, "accuracy": 0.724, "low": 0.698, "high": 0.749, "n": 1180},
        ],
        rules={"too long": {"mean": -0.12, "share": 0.18}},
        regime="heads",
        train=1392,
        holdout=475,
        dataset="9f3ac01b77de4c0a8812",
    )


@pytest.fixture
def empty() -> RewardReport:
    """A report of a model that nothing could be measured of."""
    return RewardReport(
        accuracy=NAN,
        low=NAN,
        high=NAN,
        n=0,
        ece=NAN,
        by_kind={"pair": {"n": 0, "accuracy": NAN, "low": NAN, "high": NAN}},
        crossfit={"accuracy": NAN, "low": NAN, "high": NAN, "n": 0, "ece": NAN, "ece_before": NAN},
        ceiling={"accuracy": NAN, "n": 0},
        calibration=[],
        length={"slope": NAN, "slope_raw": NAN, "points": []},
        head_agreement=NAN,
        people={"thumb": None, "pair": None},
        raters=[],
        curve=[],
        rules={},
        regime="heads",
        train=8,
        holdout=0,
        dataset="00",
    )


def rater(person: str, **given: Any) -> dict[str, Any]:
    """A row of the raters' table."""
    return {
        "person": person,
        "ratings": 40,
        "share": 0.1,
        "weight": 0.95,
        "reliability": 0.8,
        "suspicions": [],
        "group": None,
    } | given


WIDTH = 12


class Judged:
    """Evidence made from a hidden line through the features.

    Args:
        counts: ratings by kind.
        noise: share of verdicts that are turned round.
        people: who rate in turn at random.
        seed: of everything.
        random, adversaries: the first so many people answer by chance, the next so many say the opposite.
    """

    def __init__(
        self,
        counts: dict[str, int],
        noise: float = 0.0,
        people: int = 10,
        seed: int = 0,
        random: int = 0,
        adversaries: int = 0,
    ) -> None:
        self.generator = generator = torch.Generator().manual_seed(seed)
        self.truth = 2 * torch.randn(WIDTH, generator=generator) / WIDTH**0.5
        total = sum(counts.values())
        self.features = torch.randn(2 * total, WIDTH, generator=generator)
        self.tokens = torch.randint(5, 60, (2 * total,), generator=generator).float()
        self.strictness = torch.randn(people, generator=generator)
        gold = self.features @ self.truth
        found, begin = {}, 0
        for kind in KINDS:
            n = counts.get(kind, 0)
            first, second = torch.arange(begin, begin + n), torch.arange(total + begin, total + begin + n)
            person = torch.randint(people, (n,), generator=generator)
            flip = torch.rand(n, generator=generator) < noise
            flip = torch.where(person < random, torch.rand(n, generator=generator) < 0.5, flip)
            flip = flip | ((person >= random) & (person < random + adversaries))
            if kind in ("pair", "correction"):
                swap = (gold[first] < gold[second]) != flip
                first, second = torch.where(swap, second, first), torch.where(swap, first, second)
                value = torch.ones(n)
            else:
                second = first
                above = gold[first] - self.strictness[person]
                above = torch.where(flip, -above, above)
                value = {
                    "thumb": (above > 0).float(),
                    "score": (5.5 + 2 * above).round().clamp(1, 10),
                    "tags": torch.stack([(above > 0).float(), (above <= 0).float()], dim=1),
                }[kind]
            found[kind] = Ratings(
                first, second, value, person, torch.arange(begin, begin + n), torch.ones(n, dtype=torch.bool)
            )
            begin += n
        names = [f"p{i}" for i in range(people)]
        self.evidence = Evidence([[]] * 2 * total, [""] * 2 * total, found, names, ["Correct", "Wrong"], total)

    def accuracy(self, rewards_of: Tensor, fresh: Tensor) -> float:
        """Share of pairs of fresh features [2 N, D] that rewards [2 N] order as the truth does."""
        gold = fresh @ self.truth
        half = len(fresh) // 2
        return float(((rewards_of[:half] > rewards_of[half:]) == (gold[:half] > gold[half:])).float().mean())


def fresh(n: int = 2000) -> Tensor:
    """Features that no rating spoke of."""
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(99))


@pytest.fixture
def judged() -> type[Judged]:
    """Makes evidence from a hidden line through the features."""
    return Judged
