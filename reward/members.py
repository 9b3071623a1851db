"""Members of an ensemble fitted to mixed ratings: all of them at once, each with weights of its own on the ratings.

A member is a head with its likelihoods' parameters. The posterior's maximum is found by L-BFGS over all members
together; their losses do not touch each other, so it is the same as fitting each alone, at the price of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reward.evidence import Evidence
from reward.likelihoods import Likelihoods

LENGTH_SPREAD = 1.0  # prior deviation of the length heads' weights, as of a reward
HISTORY = 20  # of L-BFGS
STEPS = 80  # of L-BFGS, at most

Weights = Mapping[str, Tensor]  # by kind: [M, N], how much each rating counts for each member


@dataclass(frozen=True)
class Design:
    """What the heads read of the A rated answers, on its scale.

    Attributes:
        standard: [A, D] features.
        lengths: [A, L] length features; L is 0 where there is no length head.
        centre: [D] the weights that the prior is centred at, or None for zero.
    """

    standard: Tensor
    lengths: Tensor
    centre: Tensor | None = None


@dataclass(frozen=True)
class Members:
    """M fitted members: quality [M, D], length [M, L] and their likelihoods."""

    quality: Tensor
    length: Tensor
    likelihoods: Likelihoods

    def rewards(self, design: Design) -> Tensor:
        """[M, A] of the design's answers, length heads included."""
        return self.quality @ design.standard.T + self.length @ design.lengths.T

    def taken(self, rows: Tensor) -> Members:
        """The members with these numbers."""
        return Members(self.quality[rows], self.length[rows], self.likelihoods.taken(rows))


def fit_members(
    design: Design,
    evidence: Evidence,
    weights: Weights,
    spread: Tensor,
    *,
    prior: Tensor | None = None,
    steps: int = STEPS,
    progress: Callable[[int], None] | None = None,
) -> Members:
    """The most probable members under Gaussian priors.

    Args:
        design: of the evidence's answers.
        evidence: all ratings.
        weights: [M, N] by kind.
        spread: [M], the prior deviation of a reward: weights are normal with deviation spread / sqrt(D).
        prior: [M, D] where each member's prior is centred, in its deviations; zero by default.
        steps: of L-BFGS, at most.
        progress: called with the number of steps done.
    """
    members, width = len(spread), design.standard.shape[1]
    size = spread[:, None] / math.sqrt(width)
    likelihoods = Likelihoods(members, len(evidence.people), evidence.tag_names)
    middle = torch.zeros(members, width) if prior is None else prior
    quality = nn.Parameter(middle.clone())  # in prior deviations, so that every direction curves alike
    length = nn.Parameter(torch.zeros(members, design.lengths.shape[1]))
    centre = torch.zeros(width) if design.centre is None else design.centre
    ratings = {kind: each for kind, each in evidence.ratings.items() if len(each)}
    optimizer = torch.optim.LBFGS(
        [quality, length, *likelihoods.parameters()],
        max_iter=steps,
        history_size=HISTORY,
        tolerance_grad=1e-4,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def built() -> Members:
        return Members(centre + size * quality, LENGTH_SPREAD * length, likelihoods)

    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        optimizer.zero_grad()
        losses = likelihoods.losses(built().rewards(design), ratings)
        total = (((quality - middle) ** 2).sum() + (length**2).sum()) / 2 + likelihoods.prior().sum()
        for kind, loss in losses.items():
            total = total + (loss * weights[kind]).sum()
        total.backward()
        calls += 1
        if progress:
            progress(min(calls, steps))
        return total

    optimizer.step(closure)
    with torch.no_grad():
        fitted = built()
        return Members(fitted.quality.clone(), fitted.length.clone(), likelihoods.requires_grad_(False))
