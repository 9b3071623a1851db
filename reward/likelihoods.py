"""How probable each kind of rating is under a reward; every kind has a likelihood of its own.

    pair        first, second, tie, neither: a multinomial logit with utilities r1, r2, (r1 + r2) / 2 + tie and
                b + neither. Without ties and neither it is Bradley and Terry (1952); the tie is Davidson's (1970,
                equation 2.4); `neither` is an outside option that is measured against the person's own threshold b.
    correction  sigmoid(s (r written - r original)).
    thumb       sigmoid(s (r - b)).
    score       P(score <= c) = sigmoid(cut_c - s (r - b)): the proportional-odds model (McCullagh 1980), centred by
                the person.
    tags        each tag by itself: sigmoid(base + slope r). What a tag says of the reward is learned; for the tags of
                the page the slope begins on the side that they speak for.

The threshold b says how much a person asks of an answer, whatever the kind; it is shrunk to what people ask on average.
Slopes s say how sharply a kind follows the reward, whose scale is that of the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.evidence import FIRST, TIE, Ratings
from reward.tags import BAD, GOOD

SCORES = 10  # a score is 1 to 10
SPREAD = 1.0  # prior deviation of people's thresholds around their mean, in rewards
LOOSE = 2.0  # prior deviation of what every kind can tell by itself
FIRM = 0.5  # prior deviation of slopes, of their logarithms where they must be positive
TAG_SLOPE = 1.0  # prior mean of the slope of the page's own tags, up or down


class Likelihoods(nn.Module):
    """The parameters of the likelihoods of M members, fitted beside their rewards.

    Args:
        members: M.
        people: P.
        tag_names: T names; those of `reward.tags` begin with a side.
    """

    side: Tensor

    def __init__(self, members: int, people: int, tag_names: Sequence[str]) -> None:
        super().__init__()
        self.tag_names = list(tag_names)
        sides = [TAG_SLOPE * ((tag in GOOD) - (tag in BAD)) for tag in tag_names]
        self.register_buffer("side", torch.tensor(sides, dtype=torch.float32))
        self.demand = nn.Parameter(torch.zeros(members))
        self.strictness = nn.Parameter(torch.zeros(members, people))
        self.tie = nn.Parameter(torch.zeros(members))
        self.neither = nn.Parameter(torch.zeros(members))
        self.log_slope = nn.ParameterDict(
            {kind: nn.Parameter(torch.zeros(members)) for kind in ("correction", "thumb", "score")}
        )
        self.first_cut = nn.Parameter(torch.full((members,), -LOOSE))
        self.log_gap = nn.Parameter(torch.full((members, SCORES - 2), math.log(0.5)))
        self.tag_base = nn.Parameter(torch.zeros(members, len(tag_names)))
        self.tag_slope = nn.Parameter(self.side.repeat(members, 1))

    @property
    def threshold(self) -> Tensor:
        """[M, P], the reward that each person asks for."""
        return self.demand[:, None] + self.strictness

    @property
    def cuts(self) -> Tensor:
        """[M, 9], rising: where one score passes into the next."""
        rises = torch.cat([torch.zeros_like(self.first_cut)[:, None], self.log_gap.exp().cumsum(1)], dim=1)
        return self.first_cut[:, None] + rises

    @torch.no_grad()
    def taken(self, rows: Tensor) -> Likelihoods:
        """Those of the members with these numbers."""
        some = Likelihoods(len(rows), self.strictness.shape[1], self.tag_names)
        state = self.state_dict()
        some.load_state_dict({name: value if name == "side" else value[rows] for name, value in state.items()})
        return some.requires_grad_(False)

    def losses(self, rewards: Tensor, ratings: Mapping[str, Ratings]) -> dict[str, Tensor]:
        """Negative log-likelihood of each rating by kind: [M, N] each; of tags, the mean over the tags.

        Args:
            rewards: [M, A] of the answers that the ratings number.
        """
        return {kind: self._loss(kind, rewards, each, each.value) for kind, each in ratings.items()}

    def contrary_losses(self, rewards: Tensor, ratings: Mapping[str, Ratings]) -> dict[str, Tensor]:
        """The same for the opposite of what was said: the other answer, the other thumb, the score from the other end.

        A tie or neither has no opposite: half of the chances of a verdict for one side stands for it. Tags have none
        either and are left out.
        """
        found = {}
        for kind, each in ratings.items():
            if kind == "pair":
                turned = Ratings(each.second, each.first, *list(vars(each).values())[2:])
                first, second = (
                    self._loss(kind, rewards, side, torch.full_like(each.value, FIRST)) for side in (turned, each)
                )
                found[kind] = torch.where(each.value == FIRST, first, math.log(2) - torch.logaddexp(-first, -second))
            elif kind == "correction":
                turned = Ratings(each.second, each.first, *list(vars(each).values())[2:])
                found[kind] = self._loss(kind, rewards, turned, each.value)
            elif kind == "thumb":
                found[kind] = self._loss(kind, rewards, each, 1 - each.value)
            elif kind == "score":
                found[kind] = self._loss(kind, rewards, each, SCORES + 1 - each.value)
        return found

    def prior(self) -> Tensor:
        """Negative log-density of the parameters under their priors, up to a constant: [M]."""
        loose = self.demand**2 + self.tie**2 + self.neither**2 + (self.first_cut + LOOSE) ** 2
        loose = loose + (self.tag_base**2).sum(1)
        firm = sum(slope**2 for slope in self.log_slope.values()) + ((self.log_gap - math.log(0.5)) ** 2).sum(1)
        firm = firm + ((self.tag_slope - self.side) ** 2).sum(1)
        return (loose / LOOSE**2 + firm / FIRM**2 + (self.strictness**2).sum(1) / SPREAD**2) / 2

    def _loss(self, kind: str, rewards: Tensor, ratings: Ratings, value: Tensor) -> Tensor:
        first = rewards[:, ratings.first]
        if kind == "pair":
            return self._pair_loss(first, rewards[:, ratings.second], value, self.threshold[:, ratings.person])
        if kind == "tags":
            logits = self.tag_base[:, None] + self.tag_slope[:, None] * first[:, :, None]
            each = F.binary_cross_entropy_with_logits(logits, value.expand_as(logits), reduction="none")
            return each.mean(2) if each.shape[2] else first * 0
        slope = self.log_slope[kind].exp()[:, None]
        if kind == "correction":
            return F.softplus(-slope * (first - rewards[:, ratings.second]))
        above = slope * (first - self.threshold[:, ratings.person])
        if kind == "thumb":
            return F.binary_cross_entropy_with_logits(above, value.expand_as(above), reduction="none")
        return _ordinal_loss(above, self.cuts, value)

    def _pair_loss(self, first: Tensor, second: Tensor, value: Tensor, threshold: Tensor) -> Tensor:
        tie = (first + second) / 2 + self.tie[:, None]
        neither = threshold + self.neither[:, None]
        said = torch.where(value == FIRST, first, torch.where(value == TIE, tie, neither))
        return torch.logsumexp(torch.stack([first, second, tie, neither]), dim=0) - said


def _ordinal_loss(above: Tensor, cuts: Tensor, score: Tensor) -> Tensor:
    """Negative log-chance of each score under proportional odds.

    Args:
        above: [M, N] slope times reward over the person's threshold.
        cuts: [M, 9].
        score: [N], 1 to 10.
    """
    below = F.pad(cuts, (1, 1), value=math.inf)
    below[:, 0] = -math.inf
    number = score.long()
    upper, lower = below[:, number] - above, below[:, number - 1] - above
    # log(sigmoid(u) - sigmoid(l)) = -softplus(-u) - softplus(l) + log(1 - exp(l - u)), with u or l infinite at the ends
    inner = torch.where((number > 1) & (number < SCORES), upper - lower, torch.full_like(upper, math.inf))
    return F.softplus(-upper) + F.softplus(lower) - torch.log(-torch.expm1(-inner))
