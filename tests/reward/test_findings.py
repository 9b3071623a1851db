"""What the figures are said to mean: the mark of each section at its bounds, and the advice where one is due."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reward.findings import findings, known, percent
from reward.report import RewardReport

from .conftest import NAN, rater


def marks(report: RewardReport, **change: Any) -> dict[str, str]:
    return {name: finding.mark for name, finding in findings(replace(report, **change)).items()}


def test_a_good_report_asks_for_nothing(full: RewardReport) -> None:
    assert set(marks(full).values()) == {"good"}
    assert not any(finding.advice for finding in findings(full).values())


def test_an_empty_report_knows_nothing_and_says_so(empty: RewardReport) -> None:
    found = findings(empty)
    assert marks(empty) == {name: "none" if name == "rules" else "unknown" for name in found}
    assert all("nan" not in finding.said.lower() and finding.said.endswith(".") for finding in found.values())


def test_what_is_not_good_says_what_to_do(full: RewardReport) -> None:
    poor = replace(
        full,
        ece=0.2,
        length={"slope": 1.0},
        head_agreement=0.5,
        raters=[rater("eve", share=0.5, suspicions=["always left"])],
        crossfit=full.crossfit | {"accuracy": 0.5, "low": 0.47, "high": 0.53},
        by_kind={"thumb": {"n": 100, "accuracy": 0.3, "low": 0.2, "high": 0.4}},
    )
    found = findings(poor)
    assert {name for name, finding in found.items() if finding.mark == "bad"} == {
        *("accuracy", "kinds", "calibration", "length", "agreement", "raters")
    }
    assert all(finding.advice.endswith(".") for finding in found.values() if finding.mark in ("look", "bad"))


@pytest.mark.parametrize(
    ("accuracy", "low", "high", "n", "mark", "said"),
    [
        (0.72, 0.69, 0.75, 1000, "good", "about as often as two people agree"),
        (0.62, 0.59, 0.77, 1000, "look", "two people agree on 74.1%"),
        (0.53, 0.50, 0.72, 1000, "bad", "tossing a coin"),
        (0.80, 0.77, 0.83, 1000, "look", "differ by more than chance"),
    ],
)
def test_accuracy(full: RewardReport, accuracy: float, low: float, high: float, n: int, mark: str, said: str) -> None:
    measured = {"accuracy": accuracy, "low": low, "high": high, "n": n}
    for change in ({"crossfit": measured}, {**measured, "crossfit": full.crossfit | {"n": 500}}):
        if "n" in change:  # the holdout is the larger one now
            change["crossfit"] = {"accuracy": 0.708, "low": 0.644, "high": 0.765, "n": 212}
        found = findings(replace(full, **change))["accuracy"]
        assert (found.mark, said in found.said) == (mark, True), found


def test_accuracy_on_few_or_without_a_ceiling(full: RewardReport) -> None:
    few = replace(full, accuracy=0.9, low=0.7, high=0.98, n=20, crossfit={})
    assert findings(few)["accuracy"].mark == "look"
    alone = findings(replace(full, ceiling={"accuracy": NAN, "n": 0}))["accuracy"]
    assert (alone.mark, "a coin would be right on half" in alone.said) == ("good", True)


@pytest.mark.parametrize(
    ("ece", "n", "mark"), [(0.05, 200, "good"), (0.08, 200, "look"), (0.2, 200, "bad"), (0.2, 60, "look")]
)
def test_calibration(full: RewardReport, ece: float, n: int, mark: str) -> None:
    assert marks(full, ece=ece, n=n)["calibration"] == mark
    assert marks(full, ece=NAN, n=0, crossfit=full.crossfit | {"ece": ece, "n": n})["calibration"] == mark


@pytest.mark.parametrize(
    ("slope", "mark"), [(0.3, "good"), (-0.3, "good"), (0.5, "look"), (0.8, "bad"), (-2.0, "look")]
)
def test_length(full: RewardReport, slope: float, mark: str) -> None:
    found = findings(replace(full, length={"slope": slope}))["length"]
    assert found.mark == mark
    assert ("more" if slope > 0 else "less") in found.said


def test_kinds_are_named_as_on_the_page(full: RewardReport) -> None:
    row = {"n": 50, "accuracy": 0.52, "low": 0.4, "high": 0.6}
    found = findings(replace(full, by_kind={"pair": row, "new kind": row}))["kinds"]
    assert (found.mark, found.said) == ("look", "It predicts no better than a coin: two answers compared, new kind.")
    assert marks(full, by_kind={"pair": row | {"n": 10}})["kinds"] == "good"


def test_the_learning_curve(full: RewardReport) -> None:
    assert "still gets better" in findings(full)["curve"].said
    flat = [*full.curve, full.curve[-1] | {"ratings": 2000}]
    assert "levelled off" in findings(replace(full, curve=flat))["curve"].said
    fallen = [*full.curve, {"ratings": 2000, "accuracy": 0.6, "low": 0.57, "high": 0.63, "n": 1180}]
    assert marks(full, curve=fallen)["curve"] == "look"
    assert marks(full, curve=full.curve[:1])["curve"] == "unknown"


def test_agreement_of_heads_and_of_people(full: RewardReport) -> None:
    assert marks(full, head_agreement=0.8)["agreement"] == "look"
    assert marks(full, head_agreement=0.6)["agreement"] == "bad"
    apart = findings(replace(full, people={"thumb": 0.02, "pair": 0.5}))["agreement"]
    assert (apart.mark, "on: thumbs." in apart.said) == ("look", True)
    assert marks(full, head_agreement=NAN)["agreement"] == "good"


def test_raters_by_the_share_of_those_who_look_suspicious(full: RewardReport) -> None:
    def with_(*more: dict[str, Any]) -> str:
        return marks(full, raters=[*full.raters, *more])["raters"]

    assert with_(rater("eve", suspicions=["always left"])) == "look"
    assert with_(rater("eve", share=0.21, suspicions=["always left"])) == "bad"
    assert with_(rater("eve", group=0)) == "look"  # groups are counted from nought, too
    assert with_(rater("eve", share=0.6)) == "look"


def test_rules_that_act_always_or_never(full: RewardReport) -> None:
    assert "never act: a." in findings(replace(full, rules={"a": {"mean": 0.0, "share": 0.0}}))["rules"].said
    often = {"a": {"mean": 1.0, "share": 0.9}, "b": {"mean": 0.0, "share": 0.0}}
    assert "more than half of the answers: a." in findings(replace(full, rules=often))["rules"].said


def test_numbers() -> None:
    assert [known(value) for value in (None, NAN, float("inf"), "3", 2)] == [None, None, None, None, 2.0]
    assert percent(0.7125) == "71.2%"
