"""K linear heads on the trunk's features: what an answer is worth, and apart from it what its length alone is worth.

The length head is fitted beside the quality head, under a prior that leaves length to it rather than to the many
features, and what it learned can be dropped at use: the length term of a length-controlled comparison (Dubois et al.
2024, arXiv 2404.04475, equation 2), in place of the decorrelation of Chen et al. (ODIN, arXiv 2402.07319), which also
takes from the quality head whatever merely comes with length, such as a polite sentence.

Nothing is read outside the range of the rated answers: each feature, and the length, counts as the nearest that was
rated. Each head's rewards are told from its own mean over the rated answers: ratings tell differences, so that a
head's offset means nothing, and heads with different offsets would seem to disagree on every answer alike.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from reward.settings import LengthUse

LENGTHS = 3  # features of an answer's length
FARTHEST = 5.0  # deviations from the rated answers' mean at which a feature is cut, however far out one of them lies
USES: tuple[LengthUse, ...] = get_args(LengthUse)


def length_features(tokens: Tensor) -> Tensor:
    """[N, 3] of answers with [N] tokens: logarithm, number (in fifties) and inverse."""
    tokens = tokens.clamp(min=1)
    return torch.stack([tokens.log(), tokens / 50, 1 / tokens], dim=1)


class Heads(nn.Module):
    """An ensemble of K linear heads with their length heads, evaluated side by side.

    Args:
        width: features D of an answer.
        heads: K.

    Attributes:
        mean, scale, low, high: [D] mean, deviation, least and greatest of each feature of the rated answers.
        length_mean, length_scale: [3] the same of their length features.
        shortest, longest: tokens of the shortest and of the longest rated answer.
        centre: [3, K] each head's mean reward of the rated answers, by use of length (`USES`).
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    length_mean: Tensor
    length_scale: Tensor
    shortest: Tensor
    longest: Tensor
    centre: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("low", torch.full((width,), -torch.inf))
        self.register_buffer("high", torch.full((width,), torch.inf))
        self.register_buffer("length_mean", torch.zeros(LENGTHS))
        self.register_buffer("length_scale", torch.ones(LENGTHS))
        self.register_buffer("shortest", torch.ones(()))
        self.register_buffer("longest", torch.ones(()))
        self.register_buffer("centre", torch.zeros(len(USES), heads))
        self.quality = nn.Parameter(torch.zeros(heads, width))
        self.length = nn.Parameter(torch.zeros(heads, LENGTHS))

    def fit_scales(self, features: Tensor, tokens: Tensor) -> None:
        """Take mean, deviation and range of the features [N, D] of rated answers with [N] tokens as what is read."""
        self.low.copy_(features.amin(0))
        self.high.copy_(features.amax(0))
        self.shortest.copy_(tokens.min())
        self.longest.copy_(tokens.max())
        lengths = length_features(tokens)
        for values, mean, scale in (
            (features, self.mean, self.scale),
            (lengths, self.length_mean, self.length_scale),
        ):
            mean.copy_(values.mean(0))
            scale.copy_(values.std(0, correction=0).clamp(min=1e-3))

    @torch.no_grad()
    def with_weights(self, quality: Tensor, length: Tensor, features: Tensor, tokens: Tensor) -> Heads:
        """Heads on the same scale with these weights, quality [K, D] and length [K, 3], each told from its own mean
        over the rated answers, whose features [N, D] and tokens [N] these are.
        """
        heads = type(self)(quality.shape[1], len(quality))
        own = {"quality": quality, "length": length, "centre": heads.centre}
        heads.load_state_dict({name: own.get(name, value) for name, value in self.state_dict().items()})
        heads.centre.copy_(torch.stack([heads(features, tokens, use).mean(1) for use in USES]))
        return heads.requires_grad_(False).eval()

    def standard(self, features: Tensor) -> Tensor:
        """[N, D] features on their scale, none outside the range of the rated answers or further out than `FARTHEST`:
        what is unlike all rated answers is unlike them once, not without bound.
        """
        return ((features.clamp(self.low, self.high) - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)

    def standard_lengths(self, tokens: Tensor) -> Tensor:
        """[N, 3] length features of answers with [N] tokens, on their scale and within the same bounds."""
        lengths = length_features(tokens.clamp(self.shortest, self.longest))
        return ((lengths - self.length_mean) / self.length_scale).clamp(-FARTHEST, FARTHEST)

    def length_costs(self) -> Tensor:
        """[K, L] what each length from the shortest to the longest rated one costs by each head, 0 at the head's best.

        Away from the best to either side a cost only rises: it is what the head gives to the best length, less the
        least that it gives to any length from there up to this one.
        """
        lengths = torch.arange(float(self.shortest), float(self.longest) + 1)
        worth = self.length @ self.standard_lengths(lengths).T
        highest, best = worth.max(1, keepdim=True)
        place = torch.arange(len(lengths))
        longer = worth.masked_fill(place < best, torch.inf).cummin(1).values
        shorter = worth.masked_fill(place > best, torch.inf).flip(1).cummin(1).values.flip(1)
        return highest - torch.minimum(longer, shorter)

    def forward(self, features: Tensor, tokens: Tensor, use: LengthUse = "keep") -> Tensor:
        """Rewards of N answers by each head, told from its mean over the rated answers.

        Args:
            features: [N, D].
            tokens: [N] of each answer.
            use: what the length heads count for. keep: all that they learned; drop: nothing; cost: what a length costs
                beside the head's best one among the rated lengths, `length_costs`.

        Returns:
            [K, N].
        """
        rewards = self.quality @ self.standard(features).T
        if use == "keep":
            rewards = rewards + self.length @ self.standard_lengths(tokens).T
        elif use == "cost":
            place = (tokens.clamp(self.shortest, self.longest) - self.shortest).long()
            rewards = rewards - self.length_costs()[:, place]
        return rewards - self.centre[USES.index(use)][:, None]
