"""The report's figures on models whose judgement is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from lm.loading import Base
from reward.calibration import Calibration
from reward.fit import Crossfit
from reward.heads import Heads
from reward.judges import Judge
from reward.likelihoods import Likelihoods
from reward.model import RewardModel, fit_reward
from reward.report import learning_curve, reward_report
from reward.rule_settings import read_rules
from reward.settings import RewardSettings
from store.frozen import Frozen, Pair, Score, Tagged, Thumb

ASKED = [{"role": "user", "content": "How good?"}]


@dataclass(frozen=True)
class Stub:
    """A trunk that reads an answer's number as its only feature, and its letters as its tokens."""

    base: Base
    regime: str = "heads"

    def features(self, prompts: Any, answers: Any, progress: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        values = [float(answer.split()[0]) for answer in answers]
        return torch.tensor(values)[:, None], torch.tensor([float(len(answer)) for answer in answers])


@pytest.fixture
def model(tiny_base: Base) -> RewardModel:
    """Two heads, which pay an answer its number; the second pays a little for the opposite at large numbers."""
    quality, rated = torch.tensor([[1.0], [1.0]]), torch.zeros(1, 1)
    heads = Heads(1, 2).with_weights(quality, torch.zeros(2, 3), rated, torch.ones(1))
    likelihoods = Likelihoods(2, 2, ["Correct", "Wrong", "odd"]).requires_grad_(False)
    likelihoods.strictness[:] = torch.tensor([0.0, 2.0])  # ann asks for 0, bo for 2
    return RewardModel(
        trunk=Stub(tiny_base),
        heads=heads,
        likelihoods=likelihoods,
        calibration=Calibration(1.0, 0.0),
        crossfit=Crossfit(torch.tensor([1.0, 2.0, -1.0, 9.0]), torch.tensor([True, True, True, False])),
        spread=2.0,
        settings=RewardSettings(context=64),
        judges=[Judge("bo", 3, 0.5, 0.9, 0.8, ["answers no better than by chance would be"])],
        people=["ann", "bo"],
        dataset="0" * 64,
    )


def about(of: Any, split: str = "holdout", person: str = "ann", conversation: str = "c", **more: Any) -> Any:
    return of(messages=ASKED, person=person, conversation=conversation, split=split, **more)


def pair(first: str, second: str, outcome: float = 1.0, kind: str = "pair", **more: Any) -> Any:
    return about(Pair, first=first, second=second, outcome=outcome, kind=kind, **more)


def test_pairs_of_the_holdout(model: RewardModel) -> None:
    pairs = [
        *(pair("3", "1"), pair("4", "2"), pair("5", "3"), pair("1", "4")),
        pair("1", "2", 0.5),  # a tie says nothing of accuracy
        pair("1", "2", 0.0),
        pair("0", "9", draw="thompson"),  # nor do pairs that the heads chose
        pair("0", "9", split="train"),
    ]
    report = reward_report(model, Frozen("", pairs, [], []))
    assert (report.accuracy, report.n) == (0.75, 4)
    assert report.low < 0.75 < report.high
    assert report.by_kind["pair"]["n"] == 4
    assert (report.train, report.holdout) == (1, 7)
    assert sum(row["n"] for row in report.calibration) == 4
    assert report.head_agreement == 1.0


def test_other_kinds_by_their_person(model: RewardModel) -> None:
    frozen = Frozen(
        "",
        [pair("3", "1", kind="correction"), pair("1", "3", kind="correction"), pair("1", "9", kind="thumbs")],
        [
            about(Thumb, answer="1", liked=True, kind="thumb"),  # above what ann asks
            about(Thumb, answer="1", liked=False, kind="thumb", person="bo"),  # below what bo asks
            about(Thumb, answer="3", liked=False, kind="thumb", person="bo"),
        ],
        [],
        [
            *(about(Score, answer="1", score=3), about(Score, answer="5", score=9)),
            *(about(Score, answer="2", score=4, person="bo"), about(Score, answer="9", score=4, person="bo")),
        ],
        [
            about(Tagged, answer="2", tags=["Correct"]),
            about(Tagged, answer="-2", tags=["Correct"]),
            about(Tagged, answer="-3", tags=["Wrong", "odd"]),
            about(Tagged, answer="7", tags=["odd"]),  # speaks for no side
        ],
    )
    found = {kind: (row["accuracy"], row["n"]) for kind, row in reward_report(model, frozen).by_kind.items()}
    assert found["correction"] == (0.5, 2)
    assert found["thumb"] == (pytest.approx(2 / 3), 3)
    assert found["score"] == (1.0, 1)  # bo's two scores are equal
    assert found["tags"] == (pytest.approx(2 / 3), 3)
    assert found["pair"][1] == 0


def test_somebody_new_asks_what_people_ask_on_average(model: RewardModel) -> None:
    new = [about(Thumb, answer="1", liked=True, kind="thumb", person="eve")]
    assert reward_report(model, Frozen("", [], new, [])).by_kind["thumb"]["accuracy"] == 1.0


def test_what_was_left_out_in_turn(model: RewardModel) -> None:
    found = reward_report(model, Frozen("", [], [], [])).crossfit
    assert (found["accuracy"], found["n"]) == (pytest.approx(2 / 3), 3)  # the fourth was chosen by heads
    assert found["ece"] == found["ece_before"]  # the calibration changes nothing here


def test_the_ceiling_is_how_often_two_people_agree(model: RewardModel) -> None:
    pairs = [
        *(pair("1", "2"), pair("2", "1", person="bo"), pair("2", "1", person="cy")),
        *(pair("3", "4", split="train"), pair("3", "4", split="train", person="bo")),
        pair("5", "6"),
    ]
    found = reward_report(model, Frozen("", pairs, [], [])).ceiling
    assert (found["accuracy"], found["n"]) == (0.5, 4)


def test_length_as_used_and_as_learned(model: RewardModel) -> None:
    thumbs = [about(Thumb, answer=f"{i} {'x' * i}", liked=True, kind="thumb") for i in range(1, 40)]
    tokens = model.trunk.features([], [thumb.answer for thumb in thumbs])[1]
    heads = Heads(1, 2)
    heads.fit_scales(torch.zeros(39, 1), tokens)
    heads.length_mean.zero_()
    heads.length_scale.fill_(1)
    longer = heads.with_weights(torch.zeros(2, 1), torch.tensor([[1.0, 0.0, 0.0]] * 2), torch.zeros(39, 1), tokens)
    frozen = Frozen("", [], thumbs, [])
    dropped = replace(model, heads=longer, settings=replace(model.settings, length="drop"))
    found = reward_report(dropped, frozen).length
    assert found["use"] == "drop"
    assert found["slope"] == pytest.approx(0, abs=1e-5)
    assert found["slope_raw"] == pytest.approx(math.log(10) / 2, rel=1e-3)  # the reward is log tokens over the spread
    assert len(found["points"]) == 39
    found = reward_report(replace(model, heads=longer), frozen).length
    assert found["use"] == "cost"
    assert found["slope"] == pytest.approx(
        found["slope_raw"], rel=1e-3
    )  # the longest is the best, what is shorter costs


def test_rules_raters_and_people(model: RewardModel) -> None:
    rules = read_rules([{"kind": "banned", "pattern": "x", "weight": 1.0}])
    ruled = replace(model, settings=replace(model.settings, rules=rules))
    thumbs = [about(Thumb, answer=text, liked=True, kind="thumb") for text in ("1 x", "2", "3", "4")]
    report = reward_report(ruled, Frozen("", [], thumbs, []), {"pair": 0.5, "thumb": None})
    assert report.rules == {"banned": {"mean": -0.25, "share": 0.25}}
    assert report.people == {"pair": 0.5, "thumb": None}
    assert report.raters[0]["person"] == "bo"
    assert "look at bo: answers no better than by chance would be" in report.to_text()


def test_an_empty_holdout_has_no_figures_and_no_fault(model: RewardModel) -> None:
    report = reward_report(model, Frozen("", [], [], []))
    assert report.n == 0
    assert math.isnan(report.accuracy)
    assert report.to_json()["calibration"] == []
    assert report.to_text()


def test_the_learning_curve_grows_with_the_ratings(tiny_base: Base) -> None:
    short, long = "On Monday.", "Please let me tell you that it left on Monday and arrives on Thursday."
    pairs = [
        Pair(
            [{"role": "user", "content": f"Where is {i}?"}],
            f"{short} {i}",
            f"{long} {i}",
            1.0,
            "pair",
            f"p{i % 6}",
            f"c{i}",
            "holdout" if i % 4 == 0 else "train",
        )
        for i in range(160)
    ]
    frozen = Frozen("", pairs, [], [])
    fitted = fit_reward(tiny_base, frozen, RewardSettings(context=128))
    told: list[tuple[int, int]] = []
    curve = learning_curve(fitted, frozen, lambda done, of: told.append((done, of)))
    assert [row["ratings"] for row in curve] == [8, 15, 30, 60, 120]
    assert all(row["n"] == 40 for row in curve)
    assert curve[-1]["accuracy"] > 0.9
    assert told[0] == (0, 5)
    assert learning_curve(replace(fitted, trunk=Stub(tiny_base, regime="lora")), frozen) == []
