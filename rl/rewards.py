"""What the policy is paid: answers' scores brought to one scale, and the KL to the reference on every token; and
whether there is anything to learn from it.

Token tensors are [B, T]: B answers padded on the right to T tokens; `mask` is 1 on real tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from problems import Problem

# Rewards are in deviations of the rated answers' rewards, and answers of a policy that can learn lie some tenths apart.
# What lies closer than this is one figure and the rounding of it, which an advantage would blow up to a verdict.
LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class RewardSpread:
    """How the rewards of all answers of a rollout lie.

    Attributes:
        count: answers.
        mean, deviation: of their rewards.
        clipped: share of them that stand at a bound.
    """

    count: int
    mean: float
    deviation: float
    clipped: float

    @classmethod
    def of(cls, rewards: Tensor, clipped: Tensor) -> RewardSpread:
        """That of rewards [B], and whether each stands at a bound [B]."""
        rewards = rewards.double()
        deviation = float(rewards.std(correction=0))
        return cls(len(rewards), float(rewards.mean()), deviation, float(clipped.double().mean()))

    def check(self) -> None:
        """Raise `Problem` where the rewards are one figure: no algorithm can learn from them."""
        if self.count < 2 or self.deviation >= LEAST_SPREAD:
            return
        raise Problem(
            f"The reward does not vary: the {self.count} answers of the first rollout are paid {self.mean:.3g} each "
            f"(standard deviation {self.deviation:.1g}, at least {LEAST_SPREAD:g} is asked for; {self.clipped:.0%} of "
            "them at the clip). There is nothing to learn from it.",
            hint="See by `ratchet reward report` and `ratchet reward score` what it pays for. Where all stand at the "
            "clip, raise reward.clip or lower reward.pessimism; else rate more answers that differ from each other.",
        )


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
