"""What the policy is paid, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.rewards import AdaptiveKL, RewardScale, token_rewards

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
