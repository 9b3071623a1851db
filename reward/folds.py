"""Who is left out when: folds whose members predict ratings of people and conversations that they never met."""

from __future__ import annotations

import torch
from torch import Tensor

from reward.evidence import Evidence

FOLDS = 5
LARGEST = 0.4  # of the ratings by one person: above it, folds are by conversation, for one of them would be the crowd


def by_people(evidence: Evidence) -> bool:
    """Whether there are enough people, none of them too much of the whole, to leave out people one fold at a time."""
    counts = torch.stack([torch.bincount(r.person, minlength=len(evidence.people)) for r in evidence.ratings.values()])
    total = counts.sum(0)
    return int((total > 0).sum()) >= FOLDS and float(total.max()) <= LARGEST * float(total.sum())


def folds(evidence: Evidence, generator: torch.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Five folds as masks by kind: which ratings each may learn from, and which it is asked about.

    Every rating is asked of one fold, which learned neither from its conversation nor, where there are enough people,
    from its person.

    Returns:
        (learned, asked): float [5, N] by kind.
    """
    people = by_people(evidence)
    units = len(evidence.people) if people else evidence.groups
    place = torch.randperm(units, generator=generator) % FOLDS
    number = torch.arange(FOLDS)[:, None]
    asked, touched = {}, torch.zeros(FOLDS, evidence.groups, dtype=torch.bool)
    for kind, each in evidence.ratings.items():
        mine = place[each.person if people else each.group]
        asked[kind] = (mine == number).float()
        touched[mine, each.group] = True
    learned = {kind: ((asked[kind] == 0) & ~touched[:, each.group]).float() for kind, each in evidence.ratings.items()}
    return learned, asked


def bootstrap(evidence: Evidence, heads: int, generator: torch.Generator) -> dict[str, Tensor]:
    """How much each rating counts for each head: exponential weights by conversation (Rubin 1981, Bayesian bootstrap).

    Returns:
        float [K, N] by kind, mean 1, equal within a conversation.
    """
    drawn = -torch.rand(heads, evidence.groups, generator=generator).clamp(min=1e-6).log()
    drawn = drawn / drawn.mean(1, keepdim=True)
    return {kind: drawn[:, each.group] for kind, each in evidence.ratings.items()}
