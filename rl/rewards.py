"""What the policy is paid: answers' scores brought to one scale, and the KL to the reference on every token.

Token tensors are [B, T]: B answers padded on the right to T tokens; `mask` is 1 on real tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class RewardScale:
    """Mean and deviation of all scores seen so far, by which scores are normalised [arXiv 2307.04964, section 5.3].

    Chan, Golub and LeVeque's update (1983) merges a batch at a time, so nothing but three numbers is kept.

    Attributes:
        count: scores seen.
        mean: of them.
        squares: sum of their squared distances from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, scores: Tensor) -> None:
        """Take scores [B] into account."""
        batch = scores.double()
        added, mean = len(batch), float(batch.mean())
        total, shift = self.count + added, mean - self.mean
        self.squares += float(((batch - mean) ** 2).sum()) + shift**2 * self.count * added / total
        self.mean += shift * added / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation of all scores seen."""
        return float((self.squares / self.count) ** 0.5) if self.count else 0.0

    def normalised(self, scores: Tensor) -> Tensor:
        """Scores [B] less the mean, in deviations."""
        return (scores - self.mean) / (self.deviation + 1e-8)


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
