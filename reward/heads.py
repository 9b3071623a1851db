"""K small heads on the trunk's features, and the likelihood that each kind of rating has under them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Heads(nn.Module):
    """An ensemble of K two-layer perceptrons, evaluated side by side.

    Features are standardised with the training set's mean and deviation, which are kept with the weights.

    Args:
        width: number of features D.
        hidden: hidden units H of each head.
        heads: K.
        people: P, the people whose thumbs are modelled; each has a threshold of their own.
        dropout: on features and hidden units.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, hidden: int, heads: int, people: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.inner = nn.Parameter(torch.randn(heads, width, hidden) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(heads, 1, hidden))
        self.outer = nn.Parameter(torch.randn(heads, hidden, 1) / hidden**0.5)
        self.threshold = nn.Parameter(torch.zeros(heads, people))
        self.dropout = nn.Dropout(dropout)

    def standardise_by(self, features: Tensor) -> None:
        """Take mean and deviation of `features` [N, D] as the scale of the inputs."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0).clamp(min=1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """Rewards of N answers by each head.

        Args:
            features: [N, D], the same rows for every head, or [K, N, D], rows of its own for each.

        Returns:
            [K, N]; only differences between answers carry meaning.
        """
        standard = self.dropout((features - self.mean) / self.scale)
        hidden = self.dropout(torch.tanh(standard @ self.inner + self.bias))
        return (hidden @ self.outer).squeeze(-1)


def pair_loss(first: Tensor, second: Tensor, outcome: Tensor) -> Tensor:
    """Negative log-likelihood of pair verdicts under Bradley and Terry's model (1952), a tie being half a win each.

    Args:
        first, second: [..., N] rewards of the two answers.
        outcome: [N], 1 where the first was preferred, 0.5 at a tie.

    Returns:
        [..., N].
    """
    return F.binary_cross_entropy_with_logits(first - second, outcome.expand_as(first), reduction="none")


def thumb_loss(reward: Tensor, threshold: Tensor, liked: Tensor) -> Tensor:
    """Negative log-likelihood of thumbs: sigmoid(reward - the person's threshold) is the chance of a thumb up.

    Args:
        reward: [..., N].
        threshold: [..., N], the threshold of each row's person.
        liked: [N], 1 for a thumb up, 0 for a thumb down.

    Returns:
        [..., N].
    """
    return F.binary_cross_entropy_with_logits(reward - threshold, liked.expand_as(reward), reduction="none")
