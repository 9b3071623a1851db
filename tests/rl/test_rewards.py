"""What the policy is paid, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from problems import Problem
from rl.rewards import LEAST_SPREAD, AdaptiveKL, RewardScale, RewardSpread, token_rewards

LENGTHS = (1, 4, 7)


def test_the_score_lands_on_the_last_token_and_kl_on_all() -> None:
    kl = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.tensor([[float(t < n) for t in range(7)] for n in LENGTHS], dtype=torch.float64)
    scores = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    rewards = token_rewards(scores, kl, mask, beta=0.3).numpy()
    for row, n in enumerate(LENGTHS):
        expected = -0.3 * kl[row, :n].numpy()
        expected[-1] += scores[row].item()
        np.testing.assert_allclose(rewards[row, :n], expected, rtol=0, atol=1e-12)
        assert not rewards[row, n:].any()


def test_the_scale_is_that_of_all_scores_seen_however_they_came() -> None:
    scores = 5 + 3 * torch.randn(90, generator=torch.Generator().manual_seed(1))
    scale = RewardScale()
    for batch in scores.split((1, 30, 59)):
        scale.update(batch)
    every = scores.double().numpy()
    assert scale.count == 90
    assert scale.mean == pytest.approx(every.mean(), abs=1e-9)
    assert scale.deviation == pytest.approx(every.std(), abs=1e-9)
    np.testing.assert_allclose(scale.normalised(scores).numpy(), (every - every.mean()) / every.std(), atol=1e-6)


def test_one_score_alone_is_normalised_to_nought() -> None:
    scale = RewardScale()
    assert scale.deviation == 0.0
    scale.update(torch.tensor([4.0]))
    assert scale.normalised(torch.tensor([4.0])).item() == 0.0


def test_the_controller_pulls_towards_its_target_and_bounds_each_move() -> None:
    controller = AdaptiveKL(beta=0.1, target=2.0, horizon=100.0)
    controller.update(kl=20.0, answers=50)
    assert controller.beta == pytest.approx(0.1 * (1 + 0.2 * 0.5))
    controller.update(kl=0.0, answers=50)
    assert controller.beta == pytest.approx(0.11 * (1 - 0.2 * 0.5))
    controller.update(kl=2.0, answers=50)
    assert controller.beta == pytest.approx(0.11 * 0.9)


def test_how_the_rewards_of_a_rollout_lie() -> None:
    rewards = torch.tensor([5.0, 5.0, -1.0, 0.5])
    spread = RewardSpread.of(rewards, rewards >= 5.0)
    assert (spread.count, spread.mean, spread.clipped) == (4, 2.375, 0.5)
    assert spread.deviation == pytest.approx(np.std(rewards.numpy()))


@pytest.mark.parametrize("constant", [-5.0, 0.0, 1e6, float("nan")])
def test_rewards_that_are_all_one_are_no_reward(constant: float) -> None:
    rewards = torch.full((64,), constant)
    with pytest.raises(Problem, match=r"The reward does not vary: the 64 answers .* 100% of them at the clip") as seen:
        RewardSpread.of(rewards, torch.ones(64, dtype=torch.bool)).check()
    assert f"paid {constant:.3g} each" in str(seen.value)
    assert "reward.clip" in seen.value.hint
    with pytest.raises(Problem, match="0% of them"):
        RewardSpread.of(rewards, torch.zeros(64, dtype=torch.bool)).check()


def test_rounding_is_no_reward_and_one_answer_that_is_paid_otherwise_is() -> None:
    nothing = torch.zeros(64, dtype=torch.bool)
    rounding = 2.0 + 1e-5 * torch.randn(64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Problem, match="does not vary"):
        RewardSpread.of(rounding, nothing).check()
    sparse = torch.zeros(64)
    sparse[17] = -0.1  # what a light rule takes from one answer
    RewardSpread.of(sparse, nothing).check()
    assert RewardSpread.of(sparse, nothing).deviation > 10 * LEAST_SPREAD
    RewardSpread.of(torch.tensor([3.0]), nothing[:1]).check()  # of one answer nothing can be said
