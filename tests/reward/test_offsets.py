"""A constant added to a head changes nothing: ratings tell differences, and no head's offset means anything."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lm.loading import Base
from reward.calibration import Calibration
from reward.exploration import choose_pair, thompson_chances
from reward.fit import Crossfit
from reward.heads import LENGTHS, USES, Heads
from reward.likelihoods import Likelihoods
from reward.model import RewardModel
from reward.report import reward_report
from reward.settings import LengthUse, RewardSettings
from store.frozen import Frozen, Pair, Thumb

HEADS, WIDTH, PEOPLE = 5, 4, ["ann", "bo", "cy"]
COMBINE = get_args(RewardSettings.__annotations__["combine"]) or ("pessimistic", "mean", "minimum")
OFFSETS = st.lists(st.integers(-400, 400).map(lambda n: n / 8), min_size=HEADS, max_size=HEADS)  # exact in binary
GENERATOR = torch.Generator().manual_seed(0)
RATED = torch.randn(60, WIDTH, generator=GENERATOR)
TOKENS = torch.randint(3, 50, (60,), generator=GENERATOR).float()
QUALITY, LENGTH = torch.randn(HEADS, WIDTH, generator=GENERATOR), torch.randn(HEADS, LENGTHS, generator=GENERATOR)
ANSWERS = [f"{i} {'x' * (i % 7)}" for i in range(60)]
PROMPTS = [[{"role": "user", "content": "How good?"}]] * len(ANSWERS)


class Stub:
    """A trunk that has read the rated answers, which begin with their number."""

    regime = "heads"

    def __init__(self, base: Base) -> None:
        self.base = base

    def features(self, prompts: Any, answers: Any, progress: Any = None) -> tuple[Tensor, Tensor]:
        rows = [int(answer.split()[0]) for answer in answers]
        return RATED[rows], TOKENS[rows]


def with_offsets(offsets: list[float]) -> type[Heads]:
    """Heads that add a constant each to all that they give."""

    class Offset(Heads):
        def forward(self, features: Tensor, tokens: Tensor, use: LengthUse = "keep") -> Tensor:
            return super().forward(features, tokens, use) + torch.tensor(offsets)[:, None]

    return Offset


def model(base: Base, offsets: list[float], length: LengthUse = "cost", combine: Any = "pessimistic") -> RewardModel:
    """A reward model whose heads, and what people ask of them, were fitted this much higher or lower."""
    scales = with_offsets(offsets)(WIDTH, HEADS)
    scales.fit_scales(RATED, TOKENS)
    heads = scales.with_weights(QUALITY, LENGTH, RATED, TOKENS)
    likelihoods = Likelihoods(HEADS, len(PEOPLE), ["Correct", "Wrong"]).requires_grad_(False)
    likelihoods.strictness[:] = torch.tensor([0.0, 1.0, -1.0])
    likelihoods.demand[:] = torch.tensor(offsets)
    return RewardModel(
        trunk=Stub(base),
        heads=heads,
        likelihoods=likelihoods,
        calibration=Calibration(1.5, 0.1),
        crossfit=Crossfit(torch.tensor([1.0, -1.0]), torch.tensor([True, True])),
        spread=1.5,
        settings=RewardSettings(length=length, combine=combine, context=64),
        judges=[],
        people=PEOPLE,
        dataset="0" * 64,
    )


@given(OFFSETS, st.sampled_from(USES), st.sampled_from(COMBINE))
@settings(deadline=None, max_examples=60)
def test_scores_are_the_same(tiny_base: Base, offsets: list[float], length: LengthUse, combine: Any) -> None:
    plain, moved = (
        model(tiny_base, each, length, combine).score(PROMPTS, ANSWERS) for each in ([0.0] * HEADS, offsets)
    )
    for name in ("members", "mean", "deviation", "heads", "value"):
        torch.testing.assert_close(getattr(moved, name), getattr(plain, name), atol=1e-4, rtol=0)
    assert plain.deviation.max() < 5  # and not how far the offsets lie apart


@given(OFFSETS, st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_the_same_pair_is_shown(tiny_base: Base, offsets: list[float], seed: int) -> None:
    some = slice(seed % 50, seed % 50 + 6)
    rewards = [model(tiny_base, each).members(PROMPTS[some], ANSWERS[some]) for each in ([0.0] * HEADS, offsets)]
    plain, moved = (thompson_chances(each) for each in rewards)
    assert torch.equal(plain, moved)
    drawn = [choose_pair(each, 0.2, torch.Generator().manual_seed(seed)) for each in rewards]
    assert drawn[0] == drawn[1]


@given(OFFSETS, st.sampled_from(USES))
@settings(deadline=None, max_examples=30)
def test_the_report_says_the_same(tiny_base: Base, offsets: list[float], length: LengthUse) -> None:
    """Accuracy by kind (thumbs against what their person asks for), calibration, agreement of the heads, length."""
    about = {"messages": PROMPTS[0], "split": "holdout"}
    pairs = [
        Pair(first=ANSWERS[i], second=ANSWERS[i + 1], outcome=1.0, kind="pair", person="ann", conversation="a", **about)
        for i in range(0, 40, 2)
    ]
    thumbs = [
        Thumb(answer=text, liked=i % 3 > 0, kind="thumb", person=[*PEOPLE, "new"][i % 4], conversation="b", **about)
        for i, text in enumerate(ANSWERS)
    ]
    frozen = Frozen("", pairs, thumbs, [])
    plain, moved = (
        reward_report(model(tiny_base, each, length), frozen).to_json() for each in ([0.0] * HEADS, offsets)
    )
    for name in ("accuracy", "head_agreement", "ece"):
        assert moved[name] == pytest.approx(plain[name], abs=1e-4), name
    assert moved["by_kind"]["thumb"] == plain["by_kind"]["thumb"]
    assert 0.2 < plain["by_kind"]["thumb"]["accuracy"] < 0.8  # people's thresholds lie among the rewards
    assert moved["calibration"] == [pytest.approx(row, abs=1e-4) for row in plain["calibration"]]
    assert moved["length"]["slope"] == pytest.approx(plain["length"]["slope"], abs=1e-3)
    assert moved["length"]["slope_raw"] == pytest.approx(plain["length"]["slope_raw"], abs=1e-3)
