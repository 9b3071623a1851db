"""Reports of reward models that were never fitted, for what only reads a report."""

from __future__ import annotations

from typing import Any

import pytest

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
