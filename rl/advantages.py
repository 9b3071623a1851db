"""From rewards and values to advantages: the arithmetic of PPO, free of any model.

All token tensors are [B, T]: B answers padded on the right to T tokens; `mask` is 1 on real tokens. Each answer is one
episode that ends with its last real token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Reward of each token: the answer's score on its last token, and -beta * KL on all.

    Args:
        scores: [B] reward of whole answers.
        kl: [B, T] log p(token) - log p_reference(token), the k1 estimate: unbiased as a reward [arXiv 2512.21852].
        mask: [B, T].
        beta: strength of the KL.

    Returns:
        [B, T], zero on padding.
    """
    rewards = -beta * kl * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


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


def normalised(advantages: Tensor, mask: Tensor, count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    """Advantages [B, T] with mean 0 and deviation 1 over the whole rollout, zero on padding.

    Args:
        count, total, squares: number, sum and sum of squares of the real tokens' advantages over all processes.
    """
    mean = total / count
    deviation = (squares / count - mean**2).clamp(min=0).sqrt()
    return (advantages - mean) / (deviation + 1e-8) * mask


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Squared error of the critic [B, T], pessimistic about moves beyond `clip` [arXiv 2403.17031, detail 13]."""
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (bounded - returns) ** 2)


@dataclass
class AdaptiveKL:
    """Controller that steers the KL of an answer to a target [arXiv 1909.08593, section 2.2].

    Attributes:
        beta: present strength of the KL in the reward.
        target: nats an answer.
        horizon: answers over which a full error changes beta by a factor of e, about.
    """

    beta: float
    target: float
    horizon: float

    def update(self, kl: float, answers: int) -> None:
        """Take the mean KL of the last `answers` answers into account."""
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.beta *= 1.0 + error * answers / self.horizon
