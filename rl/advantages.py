"""From rewards and values to advantages: arithmetic free of any model.

All tensors are [B, T]: B answers padded on the right to T tokens; `mask` is 1 on real tokens. Each answer is one
episode that ends with its last real token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the returns that the critic regresses on.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, both zero beyond the last token
    [arXiv 1506.02438, equations 11, 12 and 16].

    Args:
        rewards, values, mask: [B, T]; `values[:, t]` is the value of the state before token t.

    Returns:
        (advantages, returns), each [B, T], zero on padding; returns = advantages + values.
    """
    values = values * mask
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        next_value = values[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def normalised(advantages: Tensor, mask: Tensor) -> Tensor:
    """Advantages with mean 0 and deviation 1 over the real tokens of the whole rollout [arXiv 2307.04964], zero on
    padding."""
    count = mask.sum()
    mean = (advantages * mask).sum() / count
    centred = (advantages - mean) * mask
    return centred / ((centred**2).sum() / count).sqrt().clamp(min=1e-8)
