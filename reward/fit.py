"""Fit the heads to ratings: how firm the prior is, whom to believe, and how sure to be.

Folds that leave out people (or conversations) predict every rating by members that learned nothing from its person.
Their predictions decide the prior's spread, tell each person's reliability and each rating's weight (expectation
maximisation over what was meant: `reward.raters`), and fit the calibration. Then K heads are fitted so that they differ
where the ratings leave room. Nothing of the holdout is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from problems import Problem
from reward.calibration import Calibration, fit_calibration
from reward.evidence import FIRST, Evidence
from reward.folds import FOLDS, bootstrap, folds
from reward.heads import Heads
from reward.likelihoods import Likelihoods
from reward.members import STEPS, Design, Members, fit_members
from reward.raters import Reliability, pulls_together, reliability
from reward.settings import RewardSettings

MINIMUM = 8  # ratings below which folds say nothing
# Of the prior, tried in the first round; later rounds try 1, 2 and 4 times the best of the round before.
SPREADS: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
LATER = (1.0, 2.0, 4.0)
TELLING = 30  # pairs from which they alone choose the spread: of a person left out the threshold is not known
WIDEST = 16.0  # where every verdict can be explained, the wider prior always explains it better
ROUNDS = 2  # of believing some more and others less


@dataclass(frozen=True)
class Crossfit:
    """Verdicts on pairs, predicted by members that learned nothing from their person or conversation.

    Attributes:
        difference: [n] reward of the better answer minus the other's.
        uniform: [n] whether the two answers were drawn evenly; only these are fit to judge the heads by.
    """

    difference: Tensor
    uniform: Tensor


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Attributes:
        heads: K heads, on the scale of the features, each told from its mean over the rated answers.
        likelihoods: of the K heads, told from where their rewards stood before that.
        spread: prior deviation of a reward that the folds chose.
        calibration: from reward differences to chances.
        crossfit: what it was fitted to.
        people: reliability of each person and weight of each rating.
        together: [P, P] how far people pull the same way, `reward.raters.pulls_together`.
    """

    heads: Heads
    likelihoods: Likelihoods
    spread: float
    calibration: Calibration
    crossfit: Crossfit
    people: Reliability
    together: Tensor


def check_enough(evidence: Evidence) -> None:
    """Raise Problem (status 3) where there are too few ratings for folds to say anything."""
    if len(evidence) < MINIMUM:
        raise Problem(
            f"{len(evidence)} ratings in the training split; a reward model needs at least {MINIMUM}.",
            hint="Rate some answers in the chat, or import preference pairs with `ratchet import FILE`.",
            status=3,
        )


def fit_heads(
    features: Tensor,
    tokens: Tensor,
    evidence: Evidence,
    settings: RewardSettings,
    *,
    centre: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit the ensemble.

    Args:
        features, tokens: [A, D] and [A] of the evidence's answers; those that no rating speaks of count for nothing.
        evidence: ratings of the training split.
        settings: knobs; `settings.seed` fixes the result on one machine.
        centre: [D] weights on raw features that the heads' prior is centred at.
        progress: called with the number of finished steps and of all steps.

    Raises:
        Problem: fewer than eight ratings (status 3).
    """
    check_enough(evidence)
    generator = torch.Generator().manual_seed(settings.seed)
    rated = evidence.rated()
    rated_features, rated_tokens = features[rated], tokens[rated]
    heads = Heads(features.shape[1], settings.heads)
    heads.fit_scales(rated_features, rated_tokens)
    design = Design(
        heads.standard(features), heads.standard_lengths(tokens), None if centre is None else centre * heads.scale
    )
    learned, asked = folds(evidence, generator)
    rounds = 1 + (ROUNDS if settings.weigh_raters else 0)
    steps = _Steps(progress, rounds + 1)
    spreads, people = SPREADS, None
    weights = {kind: torch.ones(len(each)) for kind, each in evidence.ratings.items()}
    for _ in range(rounds):
        spread, left_out, people = _round(design, evidence, _times(learned, weights), asked, spreads, people, steps)
        spreads = tuple(sorted({min(spread * factor, WIDEST) for factor in LATER}))
        if settings.weigh_raters:
            weights = people.weights
    assert people is not None
    members = _ensemble(design, evidence, weights, spread, settings.heads, generator, steps)
    apart = heads.with_weights(left_out.quality, left_out.length, rated_features, rated_tokens)
    crossfit = _crossfit(apart(features, tokens, settings.length), evidence, asked)
    return Fitted(
        heads=heads.with_weights(members.quality, members.length, rated_features, rated_tokens),
        likelihoods=members.likelihoods,
        spread=spread,
        calibration=fit_calibration(crossfit.difference),
        crossfit=crossfit,
        people=people,
        together=pulls_together(_slopes(left_out, design, evidence, asked), design.standard, evidence),
    )


class _Steps:
    """Steps of several fits told as one progress."""

    def __init__(self, progress: Callable[[int, int], None] | None, fits: int) -> None:
        self.progress, self.all, self.begun = progress, fits * STEPS, -1

    def next(self) -> Callable[[int], None] | None:
        """What the next fit calls with the steps that it has done."""
        self.begun += 1
        before, tell = self.begun * STEPS, self.progress
        return (lambda done: tell(before + done, self.all)) if tell else None


def _ensemble(
    design: Design,
    evidence: Evidence,
    weights: Mapping[str, Tensor],
    spread: float,
    heads: int,
    generator: torch.Generator,
    steps: _Steps,
) -> Members:
    """K heads around the most probable one, as far apart as the ratings leave room.

    Each is fitted to a Bayesian bootstrap of the conversations with its prior centred at a draw from the prior, which
    for linear heads is near a draw from the posterior (randomised priors: Osband et al. 2018, arXiv 1806.03335, section
    3). They are then moved together, so that their mean is the head fitted to all ratings: five draws would leave a
    fifth of their variance in it.
    """
    drawn = bootstrap(evidence, heads, generator)
    every = {kind: torch.cat([each, torch.ones(1, each.shape[1])]) for kind, each in drawn.items()}
    prior = torch.randn(heads + 1, design.standard.shape[1], generator=generator)
    prior[heads] = 0
    fitted = fit_members(
        design, evidence, _times(every, weights), torch.full((heads + 1,), spread), prior=prior, progress=steps.next()
    )
    quality, length = (part[:heads] - part[:heads].mean(0) + part[heads] for part in (fitted.quality, fitted.length))
    return Members(quality, length, fitted.likelihoods.taken(torch.arange(heads)))


def _times(many: Mapping[str, Tensor], each: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """[M, N] weights of members times [N] weights of ratings, by kind."""
    return {kind: weights * each[kind] for kind, weights in many.items()}


def _round(
    design: Design,
    evidence: Evidence,
    learned: Mapping[str, Tensor],
    asked: Mapping[str, Tensor],
    spreads: tuple[float, ...],
    people: Reliability | None,
    steps: _Steps,
) -> tuple[float, Members, Reliability]:
    """The prior's spread that predicts best what the folds did not learn from, its folds' members [5], and what their
    predictions say of the people. `people` is what the round before said of them.
    """
    count = len(spreads)
    repeated = [{kind: each.repeat_interleave(count, 0) for kind, each in masks.items()} for masks in (learned, asked)]
    members = fit_members(design, evidence, repeated[0], torch.tensor(spreads).repeat(FOLDS), progress=steps.next())
    rewards = members.rewards(design)
    said = members.likelihoods.losses(rewards, evidence.ratings)
    contrary = members.likelihoods.contrary_losses(rewards, evidence.ratings)
    total = torch.zeros(FOLDS * count)
    telling = ["pair"] if len(evidence.ratings["pair"]) >= TELLING else list(said)
    for kind in telling:
        loss = said[kind]
        if people is not None and kind in contrary:
            eta = people.eta[evidence.ratings[kind].person]
            loss = -torch.logaddexp(eta.log() - loss, (1 - eta).log() - contrary[kind])
        total += (loss * repeated[1][kind]).sum(1)
    best = int(total.view(FOLDS, count).sum(0).argmin())
    rows = torch.arange(FOLDS) * count + best
    told, turned = (
        {kind: (loss[rows] * asked[kind]).sum(0) for kind, loss in losses.items()} for losses in (said, contrary)
    )
    return spreads[best], members.taken(rows), reliability(told, turned, evidence)


def _crossfit(rewards: Tensor, evidence: Evidence, asked: Mapping[str, Tensor]) -> Crossfit:
    pairs = evidence.ratings["pair"]
    difference = ((rewards[:, pairs.first] - rewards[:, pairs.second]) * asked["pair"]).sum(0)
    decided = pairs.value == FIRST
    return Crossfit(difference[decided], pairs.uniform[decided])


def _slopes(members: Members, design: Design, evidence: Evidence, asked: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How each rating [N] would move its answer's reward, or the difference of its two: the derivative of its
    log-likelihood, by members that did not learn from it. Tags have no contrary and are left out.
    """
    rewards = members.rewards(design)
    found = {}
    for kind in ("pair", "correction", "thumb", "score"):
        each = evidence.ratings[kind]
        if not (n := len(each)):
            continue
        apart = torch.cat([rewards[:, each.first], rewards[:, each.second]], dim=1).requires_grad_()
        numbered = replace(each, first=torch.arange(n), second=torch.arange(n, 2 * n))
        loss = members.likelihoods.losses(apart, {kind: numbered})[kind]
        (slope,) = torch.autograd.grad((loss * asked[kind]).sum(), apart)
        first, second = (-slope.sum(0)).split(n)
        found[kind] = (first - second) / 2 if kind in ("pair", "correction") else first
    return found
