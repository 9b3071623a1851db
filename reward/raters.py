"""Which people can be believed: Crowd-BT's reliability, and who pulls together against the rest.

A person's rating is taken to be meant as said with probability eta, and as its contrary otherwise (Chen et al. 2013,
"Pairwise ranking aggregation in a crowdsourced setting", equation 4): eta near 1 is a careful person, 1/2 one who
answers at random, 0 one who pushes against the others. Predictions come from members that learned nothing from the
person, so nobody vouches for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reward.evidence import Evidence

PRIOR = (9.0, 1.5)  # pseudo-ratings meant as said and contrary to it: people are believed until they show otherwise
ETAS = torch.linspace(0.01, 0.99, 99)


@dataclass(frozen=True)
class Reliability:
    """What is known of the people.

    Attributes:
        eta: [P] most probable share of ratings meant as said.
        ratings: [P] how many that rests on.
        random: [P] nats by which answering at random explains the person better than the typical eta does.
        against: [P] nats by which pushing against the rest explains them better than answering at random does.
        weights: by kind [N], what each rating counts for: 0 to 1.
    """

    eta: Tensor
    ratings: Tensor
    random: Tensor
    against: Tensor
    weights: dict[str, Tensor]


def reliability(said: Mapping[str, Tensor], contrary: Mapping[str, Tensor], evidence: Evidence) -> Reliability:
    """Each person's eta, and the weight of each rating: the chance that it was meant, times what its person is worth.

    Args:
        said, contrary: negative log-chance of each rating, and of its contrary, by kind [N], from members that did not
            learn from its person. Kinds without a contrary count for nothing here and keep their person's weight.
        evidence: the ratings.
    """
    people = len(evidence.people)
    log_prior = (PRIOR[0] - 1) * ETAS.log() + (PRIOR[1] - 1) * (1 - ETAS).log()
    chances = torch.zeros(people, len(ETAS))
    counts = torch.zeros(people)
    for kind, loss in contrary.items():
        person = evidence.ratings[kind].person
        mixed = torch.logaddexp(ETAS.log() - said[kind][:, None], (1 - ETAS).log() - loss[:, None])
        chances.index_add_(0, person, mixed)
        counts.index_add_(0, person, torch.ones(len(person)))
    eta = ETAS[(chances + log_prior).argmax(1)]
    # Of the person behind a typical rating: many people of one rating each do not say what is typical.
    typical = float(eta.repeat_interleave(counts.long()).median()) if bool((counts > 0).any()) else 1.0
    at = {name: int((ETAS - value).abs().argmin()) for name, value in (("typical", typical), ("random", 0.5))}
    worst = chances[:, ETAS <= 0.25].amax(1)
    worth = ((2 * eta - 1) / max(2 * typical - 1, 1e-3)).clamp(0, 1)
    weights = {}
    for kind, each in evidence.ratings.items():
        mine = eta[each.person]
        meant = torch.ones(len(each))
        if kind in contrary:
            meant = torch.sigmoid(mine.log() - said[kind] - (1 - mine).log() + contrary[kind])
        weights[kind] = meant * worth[each.person]
    return Reliability(
        eta=eta,
        ratings=counts,
        random=chances[:, at["random"]] - chances[:, at["typical"]],
        against=worst - chances[:, at["random"]],
        weights=weights,
    )


def pulls_together(slopes: Mapping[str, Tensor], design: Tensor, evidence: Evidence) -> Tensor:
    """How far two people's ratings pull the reward the same way, in deviations above chance: [P, P].

    A person's pull is the gradient of their ratings' likelihood in the space of the features, taken where the others
    have put the reward; that the pulls of sybils are alike is what FoolsGold (Fung et al. 2018, arXiv 1808.04866) rests
    on. Chance: each rating's part with a random sign, which gives the product of two pulls a deviation in closed form.

    Args:
        slopes: by kind [N] derivative of the log-likelihood of a rating with respect to its answers' difference, or to
            its answer's reward.
        design: [A, R] what the answers look like.
        evidence: the ratings.
    """
    parts, owners = [torch.zeros(0, design.shape[1])], [torch.zeros(0, dtype=torch.long)]  # tags alone pull nowhere
    for kind, slope in slopes.items():
        each = evidence.ratings[kind]
        look = design[each.first] - design[each.second] if kind in ("pair", "correction") else design[each.first]
        parts.append(slope[:, None] * look)
        owners.append(each.person)
    part, owner = torch.cat(parts), torch.cat(owners)
    people = len(evidence.people)
    pull = torch.zeros(people, part.shape[1]).index_add_(0, owner, part)
    chance = torch.zeros(people, people)
    for one in range(people):
        products = (part[owner == one] @ part.T) ** 2
        chance[one] = torch.zeros(people).index_add_(0, owner, products.sum(0))
    return (pull @ pull.T) / chance.sqrt().clamp(min=1e-9)
