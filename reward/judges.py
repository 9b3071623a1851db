"""The people who rate, as an operator sees them: how far each is believed, and why somebody deserves a look."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reward.evidence import Evidence
from reward.raters import Reliability
from store.raters import Rater

FEWEST = 8  # ratings below which nothing is said of a person
SURE = 3.0  # nats of evidence, and the logarithm of the number of people, before something is said of one of them
FASTEST = 30  # ratings within a minute that nobody reads
SIDED = 4.0  # deviations from a half of the verdicts for the left answer
TOGETHER = 3.0  # deviations above chance by which the pulls of two doubted people agree before they are called a group


@dataclass(frozen=True)
class Judge:
    """One person who rates.

    Attributes:
        ratings: how many of theirs the reward model learned from.
        share: of all ratings.
        weight: mean weight of their ratings, 0 to 1.
        reliability: most probable share of their ratings that were meant as said.
        suspicions: sentences that say why they deserve a look; empty for most.
        group: number of the group that pulls together against the others, or None.
    """

    person: str
    ratings: int
    share: float
    weight: float
    reliability: float
    suspicions: list[str] = field(default_factory=list)
    group: int | None = None


def judges(people: Reliability, together: Tensor, evidence: Evidence) -> list[Judge]:
    """Everybody who rated, the least believed first.

    Args:
        people: from `reward.raters.reliability`.
        together: [P, P] from `reward.raters.pulls_together`.
        evidence: the ratings.
    """
    count = len(evidence.people)
    ratings, weight = torch.zeros(count), torch.zeros(count)
    for kind, each in evidence.ratings.items():
        ratings.index_add_(0, each.person, torch.ones(len(each)))
        weight.index_add_(0, each.person, people.weights[kind])
    sure = SURE + math.log(max(count, 1))
    doubted = (people.random > sure) & (people.ratings >= FEWEST)
    group = _groups(together, doubted)
    found = []
    for number in torch.argsort(people.eta).tolist():
        why = []
        if doubted[number]:
            against = float(people.against[number]) > SURE
            why.append(
                "says the opposite of what the others say" if against else "answers no better than by chance would be"
            )
        if group[number] is not None:
            others = [evidence.people[i] for i in range(count) if group[i] == group[number] and i != number]
            why.append(f"pulls the same way as {', '.join(others)}, against the others")
        if ratings[number]:
            found.append(
                Judge(
                    person=evidence.people[number],
                    ratings=int(ratings[number]),
                    share=float(ratings[number] / ratings.sum()),
                    weight=float(weight[number] / ratings[number]),
                    reliability=float(people.eta[number]),
                    suspicions=why,
                    group=group[number],
                )
            )
    return found


def _groups(together: Tensor, doubted: Tensor) -> list[int | None]:
    """Numbers of the connected groups of two or more doubted people whose pulls agree beyond chance."""
    linked = (together > TOGETHER) & doubted[:, None] & doubted[None, :]
    group: list[int | None] = [None] * len(doubted)
    number = 0
    for start in torch.nonzero(doubted)[:, 0].tolist():
        if group[start] is not None:
            continue
        members, waiting = {start}, [start]
        while waiting:
            near = torch.nonzero(linked[waiting.pop()])[:, 0].tolist()
            waiting += [each for each in near if each not in members]
            members |= set(near)
        if len(members) > 1:
            number += 1
            for each in members:
                group[each] = number
    return group


def habits(rater: Rater) -> list[str]:
    """Sentences on how a person rates that deserve a look whatever they say; empty for most."""
    said = []
    if rater.fastest > FASTEST:
        said.append(f"gave {rater.fastest} ratings within a minute")
    if rater.left.of and abs(rater.left.count - rater.left.of / 2) > SIDED * math.sqrt(rater.left.of) / 2:
        said.append(f"chose the left answer {rater.left.count} times of {rater.left.of}")
    if rater.steady.of >= FEWEST and 2 * rater.steady.count < rater.steady.of:
        said.append(f"said the same again of the same answers only {rater.steady.count} times of {rater.steady.of}")
    return said
