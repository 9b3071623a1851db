"""K linear heads on the trunk's features: what an answer is worth, and apart from it what its length alone is worth.

The length head is fitted beside the quality head, under a prior that leaves length to it rather than to the many
features, and what it learned can be dropped at use: the length term of a length-controlled comparison (Dubois et al.
2024, arXiv 2404.04475, equation 2), in place of the decorrelation of Chen et al. (ODIN, arXiv 2402.07319), which also
takes from the quality head whatever merely comes with length, such as a polite sentence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reward.settings import LengthUse

LENGTHS = 3  # features of an answer's length
FARTHEST = 5.0  # deviations from the rated answers' mean at which a feature is cut


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
    length_mean: Tensor
    length_scale: Tensor

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("length_mean", torch.zeros(LENGTHS))
        self.register_buffer("length_scale", torch.ones(LENGTHS))
        self.quality = nn.Parameter(torch.zeros(heads, width))
        self.length = nn.Parameter(torch.zeros(heads, LENGTHS))

    def fit_scales(self, features: Tensor, tokens: Tensor) -> None:
        """Take mean and deviation of the features [N, D] of answers with [N] tokens as the scale of what is read."""
        lengths = length_features(tokens)
        for values, mean, scale in (
            (features, self.mean, self.scale),
            (lengths, self.length_mean, self.length_scale),
        ):
            mean.copy_(values.mean(0))
            scale.copy_(values.std(0, correction=0).clamp(min=1e-3))

    def with_weights(self, quality: Tensor, length: Tensor) -> Heads:
        """Heads on the same scale with these weights: quality [K, D], length [K, 3]."""
        heads = Heads(quality.shape[1], len(quality), self.context)
        own = {"quality": quality, "length": length}
        heads.load_state_dict({name: own.get(name, value) for name, value in self.state_dict().items()})
        return heads.requires_grad_(False).eval()

    def standard(self, features: Tensor) -> Tensor:
        """[N, D] features on their scale, none further out than `FARTHEST`: what is unlike all rated answers is unlike
        them once, not without bound.
        """
        return ((features - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)

    def standard_lengths(self, tokens: Tensor) -> Tensor:
        """[N, 3] length features of answers with [N] tokens, on their scale."""
        return (length_features(tokens) - self.length_mean) / self.length_scale

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
        worth = self.quality @ self.standard(features).T
        if use == "keep":
            return worth + self.length @ self.standard_lengths(tokens).T
        if use == "drop":
            return worth
        every = self.length @ self.standard_lengths(torch.arange(1.0, self.context + 1)).T
        place = tokens.long().clamp(1, self.context) - 1
        return worth + every.cummin(dim=1).values[:, place]
