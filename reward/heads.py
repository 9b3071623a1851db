"""K linear heads on the trunk's features: what an answer is worth, and apart from it what its length is worth.

Features are put on one scale and freed of what length explains of them, so that the quality heads cannot read length
(linearly) and a head of its own does. What that one learned can be dropped at use: the disentangled length head of Chen
et al. 2024 (ODIN, arXiv 2402.07319), with the decorrelation built in where they train for it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

LENGTHS = 3  # features of an answer's length

LengthUse = Literal["cost", "drop", "keep"]


def length_features(tokens: Tensor) -> Tensor:
    """[N, 3] of answers with [N] tokens: logarithm, number (in fifties) and inverse."""
    tokens = tokens.clamp(min=1)
    return torch.stack([tokens.log(), tokens / 50, 1 / tokens], dim=1)


class Heads(nn.Module):
    """An ensemble of K linear heads with their length heads, evaluated side by side.

    Args:
        width: features D of an answer.
        heads: K.
        context: tokens of the longest answer.
    """

    mean: Tensor
    scale: Tensor
    by_length: Tensor

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("by_length", torch.zeros(LENGTHS, width))
        self.register_buffer("length_mean", torch.zeros(LENGTHS))
        self.register_buffer("length_scale", torch.ones(LENGTHS))
        self.quality = nn.Parameter(torch.zeros(heads, width))
        self.length = nn.Parameter(torch.zeros(heads, LENGTHS))

    def fit_scales(self, features: Tensor, tokens: Tensor) -> None:
        """Take the scales, and what length explains, from the features [N, D] of answers with [N] tokens."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0).clamp(min=1e-3))
        lengths = length_features(tokens)
        self.length_mean.copy_(lengths.mean(0))
        self.length_scale.copy_(lengths.std(0).clamp(min=1e-3))
        standard, lengths = (features - self.mean) / self.scale, self.standard_lengths(tokens)
        penalty = 1e-3 * len(lengths) * torch.eye(LENGTHS)  # the three say nearly the same
        self.by_length.copy_(torch.linalg.solve(lengths.T @ lengths + penalty, lengths.T @ standard))

    def standard_lengths(self, tokens: Tensor) -> Tensor:
        """[N, 3] length features on their scale."""
        return (length_features(tokens) - self.length_mean) / self.length_scale

    def standard(self, features: Tensor, tokens: Tensor) -> Tensor:
        """[N, D] features on their scale, without what length explains of them."""
        return (features - self.mean) / self.scale - self.standard_lengths(tokens) @ self.by_length

    def forward(self, features: Tensor, tokens: Tensor, use: LengthUse = "keep") -> Tensor:
        """Rewards of N answers by each head.

        Args:
            features: [N, D].
            tokens: [N] of each answer.
            use: what the length heads count for. keep: all; drop: nothing; cost: length may cost and never pays, which
                is the least that they give to any length up to this one.

        Returns:
            [K, N]; only differences between answers carry meaning.
        """
        worth = self.quality @ self.standard(features, tokens).T
        if use == "keep":
            return worth + self.length @ self.standard_lengths(tokens).T
        if use == "drop":
            return worth
        every = self.length @ self.standard_lengths(torch.arange(1.0, self.context + 1)).T
        place = tokens.long().clamp(1, self.context) - 1
        return worth + every.cummin(dim=1).values[:, place]
