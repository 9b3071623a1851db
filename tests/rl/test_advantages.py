"""The arithmetic of PPO against plain float64 NumPy written from the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.advantages import generalised_advantages, normalised

LENGTHS = (1, 4, 7)


def padded(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random figures and mask [3, 7], garbage in the padding."""
    mask = torch.tensor([[float(t < n) for t in range(7)] for n in LENGTHS], dtype=torch.float64)
    return torch.randn(3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), mask


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
    result = normalised(advantages, mask)
    real = advantages[mask.bool()].numpy()
    np.testing.assert_allclose(result[mask.bool()].numpy(), (real - real.mean()) / real.std(), rtol=0, atol=1e-12)
    assert not result[~mask.bool()].any()


def test_float32_stays_within_a_millionth_of_float64() -> None:
    (rewards, mask), (values, _) = padded(4), padded(5)
    exact = generalised_advantages(rewards * mask, values, mask, 1.0, 0.95)
    rounded = generalised_advantages((rewards * mask).float(), values.float(), mask.float(), 1.0, 0.95)
    for ours, reference in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(ours.numpy(), reference.numpy(), rtol=1e-6, atol=1e-6)
