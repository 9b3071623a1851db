"""The losses of PPO and their gradients against plain float64 NumPy written from the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.losses import approximate_kl, clipped_policy_loss, clipped_value_loss, importance_weights

N = 200
WITHIN = {"rtol": 0, "atol": 1e-6}


def drawn(seed: int, scale: float = 1.0) -> torch.Tensor:
    """Random float32 figures [N]."""
    return scale * torch.randn(N, generator=torch.Generator().manual_seed(seed))


def in_numpy(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def test_policy_loss_and_its_gradient_equal_the_reference() -> None:
    logps, old, advantages = drawn(0, 0.3).requires_grad_(), drawn(1, 0.3), drawn(2)
    loss, clipped = clipped_policy_loss(logps, old, advantages, clip=0.2, log_ratio=10.0)
    new, before, gain = in_numpy(logps, old, advantages)
    ratio = np.exp(new - before)
    held = np.where(gain > 0, np.minimum(ratio, 1.2), np.maximum(ratio, 0.8))
    np.testing.assert_allclose(loss.detach().numpy(), -held * gain, rtol=1e-6, atol=1e-6)
    free = held == ratio
    np.testing.assert_array_equal(clipped.numpy(), ~free)
    assert 20 < free.sum() < N - 20  # both branches were met
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    np.testing.assert_allclose(gradient.numpy(), np.where(free, -ratio * gain, 0.0), rtol=1e-6, atol=1e-6)


def test_the_log_ratio_is_bounded_so_that_an_impossible_token_does_not_blow_up() -> None:
    logps, old = torch.tensor([0.0, -1000.0]).requires_grad_(), torch.tensor([-1000.0, 0.0])
    loss, _ = clipped_policy_loss(logps, old, torch.tensor([-1.0, -1.0]), clip=0.2, log_ratio=3.0)
    np.testing.assert_allclose(loss.detach().numpy(), [np.exp(3.0), 0.8], rtol=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert gradient.isfinite().all()


def test_value_loss_equals_the_reference() -> None:
    values, old, returns = drawn(3).requires_grad_(), drawn(4, 0.5), drawn(5)
    loss = clipped_value_loss(values, old, returns, clip=0.2)
    new, before, target = in_numpy(values, old, returns)
    bounded = np.clip(new, before - 0.2, before + 0.2)
    expected = 0.5 * np.maximum((new - target) ** 2, (bounded - target) ** 2)
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), values)
    pulls = ((new - target) ** 2 >= (bounded - target) ** 2) | (np.abs(new - before) < 0.2)
    np.testing.assert_allclose(gradient.numpy(), np.where(pulls, new - target, 0.0), **WITHIN)


def test_value_loss_never_rewards_a_move_beyond_the_clip() -> None:
    old, returns = torch.tensor([0.0]), torch.tensor([1.0])
    near, far = (clipped_value_loss(torch.tensor([value]), old, returns, 0.2) for value in (0.1, 0.9))
    assert near.item() == pytest.approx(0.5 * 0.9**2)
    assert far.item() == pytest.approx(0.5 * 0.8**2)


def test_approximate_kl_equals_the_reference_and_estimates_the_true_one() -> None:
    new, old = drawn(6, 0.2), drawn(7, 0.2)
    found = approximate_kl(new, old, log_ratio=10.0)
    move = np.subtract(*in_numpy(new, old))
    np.testing.assert_allclose(found.numpy(), np.exp(move) - 1 - move, rtol=0, atol=1e-6)
    assert (found >= 0).all()

    generator = torch.Generator().manual_seed(8)
    p, q = (torch.randn(12, generator=generator, dtype=torch.float64).log_softmax(0) for _ in range(2))
    tokens = torch.multinomial(p.exp(), 200_000, replacement=True, generator=generator)
    true = float((p.exp() * (p - q)).sum())
    assert float(approximate_kl(q[tokens], p[tokens], 20.0).mean()) == pytest.approx(true, rel=0.02)


def test_weights_make_a_samplers_mean_the_policys_own_unless_capped() -> None:
    generator = torch.Generator().manual_seed(9)
    sampler, policy = (torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0) for _ in range(2))
    figure = torch.randn(6, generator=generator, dtype=torch.float64)
    tokens = torch.multinomial(sampler.exp(), 400_000, replacement=True, generator=generator)
    weights = importance_weights(policy[tokens], sampler[tokens], cap=1e9)
    assert float((weights * figure[tokens]).mean()) == pytest.approx(float((policy.exp() * figure).sum()), abs=0.02)
    assert importance_weights(torch.tensor([0.0, -1.0]), torch.tensor([-9.0, -1.0]), cap=2.0).tolist() == [2.0, 1.0]
