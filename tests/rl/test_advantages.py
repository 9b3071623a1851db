"""The arithmetic of PPO against plain float64 NumPy written from the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.advantages import AdaptiveKL, clipped_value_loss, generalised_advantages, normalised, token_rewards

LENGTHS = (1, 4, 7)


def padded(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random figures and mask [3, 7], garbage in the padding."""
    mask = torch.tensor([[float(t < n) for t in range(7)] for n in LENGTHS], dtype=torch.float64)
    return torch.randn(3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), mask


def test_the_score_lands_on_the_last_token_and_kl_on_all() -> None:
    kl, mask = padded(0)
    scores = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    rewards = token_rewards(scores, kl, mask, beta=0.3).numpy()
    for row, n in enumerate(LENGTHS):
        expected = -0.3 * kl[row, :n].numpy()
        expected[-1] += scores[row].item()
        np.testing.assert_allclose(rewards[row, :n], expected, rtol=0, atol=1e-12)
        assert not rewards[row, n:].any()


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_equal_the_sum_of_discounted_errors(gamma: float, lam: float) -> None:
    rewards, mask = padded(1)
    values, _ = padded(2)
    rewards = rewards * mask
    advantages, returns = generalised_advantages(rewards, values, mask, gamma, lam)
    for row, n in enumerate(LENGTHS):
        r, v = rewards[row, :n].numpy(), np.append(values[row, :n].numpy(), 0.0)
        delta = r + gamma * v[1:] - v[:-1]
        expected = [sum((gamma * lam) ** k * delta[t + k] for k in range(n - t)) for t in range(n)]
        np.testing.assert_allclose(advantages[row, :n].numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(returns[row, :n].numpy(), expected + v[:-1], atol=1e-12)
        assert not advantages[row, n:].any()
        assert not returns[row, n:].any()


def test_normalised_advantages_have_mean_nought_and_deviation_one_over_real_tokens() -> None:
    advantages, mask = padded(3)
    real = advantages[mask.bool()]
    result = normalised(advantages, mask, mask.sum(), real.sum(), (real**2).sum())
    assert result[mask.bool()].mean().abs() < 1e-12
    assert (result[mask.bool()].std(correction=0) - 1).abs() < 1e-6
    assert not result[~mask.bool()].any()


def test_value_loss_never_rewards_a_move_beyond_the_clip() -> None:
    old, returns = torch.tensor([0.0]), torch.tensor([1.0])
    near, far = (
        clipped_value_loss(torch.tensor([0.1]), old, returns, 0.2),
        clipped_value_loss(torch.tensor([0.9]), old, returns, 0.2),
    )
    assert near.item() == pytest.approx(0.5 * 0.9**2)
    assert far.item() == pytest.approx(0.5 * 0.8**2)


def test_the_controller_pulls_towards_its_target_and_bounds_each_move() -> None:
    controller = AdaptiveKL(beta=0.1, target=2.0, horizon=100.0)
    controller.update(kl=20.0, answers=50)
    assert controller.beta == pytest.approx(0.1 * (1 + 0.2 * 0.5))
    controller.update(kl=0.0, answers=50)
    assert controller.beta == pytest.approx(0.11 * (1 - 0.2 * 0.5))
    controller.update(kl=2.0, answers=50)
    assert controller.beta == pytest.approx(0.11 * 0.9)
