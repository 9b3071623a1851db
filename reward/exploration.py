"""Which two of several answers to show side by side: those by which two heads of the reward model differ.

Double Thompson sampling over an ensemble (Dwaracherla et al. 2024, arXiv 2402.00396): two heads drawn at random each
name the answer that they value most, again and again until they name different ones. A share of the pairs is drawn
evenly from all, so that the reward model can be judged on pairs that it had no part in choosing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Drawn:
    """Two answers to show.

    Attributes:
        first, second: their numbers among the candidates; equal only where there is a single candidate.
        draw: how they were drawn.
        propensity: the probability with which the whole procedure draws these two, in either order and either way.
    """

    first: int
    second: int
    draw: Literal["uniform", "thompson"]
    propensity: float


def choose_pair(rewards: Tensor, uniform_share: float, generator: torch.Generator) -> Drawn:
    """Draw two candidates: evenly with probability `uniform_share`, else by two heads.

    A single candidate is drawn twice, evenly, with propensity 1.

    Args:
        rewards: [K, C], of C different answers to one prompt by each of K heads; finite.
        uniform_share: 0 to 1.
        generator: on the CPU.
    """
    candidates = rewards.shape[1]
    if candidates == 1:
        return Drawn(0, 0, "uniform", 1.0)
    thompson = thompson_chances(rewards)
    uniform = torch.full_like(thompson, 2 / (candidates * (candidates - 1))).triu(1)
    evenly = float(torch.rand((), generator=generator)) < uniform_share
    place = int(torch.multinomial((uniform if evenly else thompson).flatten(), 1, generator=generator))
    propensity = uniform_share * uniform.flatten()[place] + (1 - uniform_share) * thompson.flatten()[place]
    return Drawn(*divmod(place, candidates), "uniform" if evenly else "thompson", float(propensity))


def thompson_chances(rewards: Tensor) -> Tensor:
    """How probable each pair is under double Thompson sampling alone, exactly.

    With p_k(c) the chance that head k names candidate c (1 for its best; evenly shared among equals), two different
    heads name c and d in one try with a probability proportional to

        q(c, d) = sum over k != l of p_k(c) p_l(d),

    and since tries that agree are repeated without end, the pair {c, d} is drawn with q(c, d) + q(d, c), divided by the
    sum of that over all pairs. Where no two heads can disagree, a head drawn at random names the first, and the second
    is drawn evenly from the others: {c, d} then has the probability (p(c) + p(d)) / (C - 1), p being the mean over the
    heads.

    Args:
        rewards: [K, C], K at least 1, C at least 2; finite.

    Returns:
        float64 [C, C] on the CPU: the pair {c, d} at row min(c, d), column max(c, d), zero elsewhere; sums to 1.
    """
    candidates = rewards.shape[1]
    best = (rewards == rewards.amax(1, keepdim=True)).double().cpu()
    names = best / best.sum(1, keepdim=True)
    different = 1 - torch.eye(len(names), dtype=names.dtype)
    ordered = names.T @ different @ names
    pairs = (ordered + ordered.T).triu(1)
    if pairs.any():
        return pairs / pairs.sum()
    mean = names.mean(0)
    return ((mean[:, None] + mean[None, :]) / (candidates - 1)).triu(1)
