"""Fit the heads to ratings.

Each head learns from its own bootstrap of the conversations (drawn with replacement), so that the heads differ where
the ratings leave room; the conversations a head did not draw are its validation set, which decides when it stops.
Averaged over the heads that did not see them, the same predictions fit the temperature. Nothing of the holdout is
touched here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from problems import Problem
from reward.evidence import Evidence
from reward.heads import Heads, pair_loss, thumb_loss
from reward.settings import RewardSettings

MINIMUM = 8  # ratings below which a bootstrap of conversations says nothing


def fit_heads(
    evidence: Evidence, settings: RewardSettings, progress: Callable[[int], None] | None = None
) -> tuple[Heads, float]:
    """Train the ensemble and its temperature.

    Args:
        evidence: ratings of the training split.
        settings: knobs; `settings.seed` fixes the result on one machine.
        progress: called with the number of finished epochs.

    Returns:
        The heads in evaluation mode, and the temperature T > 0: sigmoid(difference of mean rewards / T) is the
        calibrated chance that the first of two answers is preferred.

    Raises:
        Problem: fewer than eight ratings (status 3).
    """
    if len(evidence) < MINIMUM:
        raise Problem(
            f"{len(evidence)} ratings in the training split; a reward model needs at least {MINIMUM}.",
            hint="Rate some answers in the chat, or import preference pairs with `ratchet import FILE`.",
            status=3,
        )
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        heads = Heads(
            evidence.features.shape[1], settings.hidden, settings.heads, max(1, len(evidence.people)), settings.dropout
        )
        heads.standardise_by(evidence.features)
        draws = _bootstrap(evidence, settings.heads, generator)
        _train(heads, evidence, draws, settings, generator, progress)
    heads.eval()
    return heads, fit_temperature(*_out_of_bag(heads, evidence, draws[0]))


def fit_temperature(difference: Tensor, outcome: Tensor) -> float:
    """The T that minimises the negative log-likelihood of sigmoid(difference / T); 1 where there is nothing to fit.

    Args:
        difference: [N] reward of the first answer minus that of the second.
        outcome: [N] in {0, 0.5, 1}.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    if len(difference) < MINIMUM:
        return 1.0
    candidates = torch.logspace(-1, 1.3, 200)
    losses = pair_loss(difference / candidates[:, None], torch.zeros_like(difference), outcome).mean(1)
    return float(candidates[losses.argmin()])


def _bootstrap(evidence: Evidence, heads: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """How often each head drew each rating: ([K, P], [K, T]) counts, equal within a conversation."""
    groups = int(max([*evidence.pair_group.tolist(), *evidence.thumb_group.tolist()])) + 1
    drawn = torch.randint(groups, (heads, groups), generator=generator)
    counts = torch.zeros(heads, groups).scatter_add_(1, drawn, torch.ones(heads, groups))
    return counts[:, evidence.pair_group], counts[:, evidence.thumb_group]


def _losses(heads: Heads, evidence: Evidence, pairs: Tensor, thumbs: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood by head of the pairs and thumbs with the given numbers: ([K, p], [K, t])."""
    rows = torch.cat([evidence.first[pairs], evidence.second[pairs], evidence.answer[thumbs]])
    first, second, thumbed = heads(evidence.features[rows]).split([len(pairs), len(pairs), len(thumbs)], dim=1)
    threshold = heads.threshold[:, evidence.person[thumbs]]
    return (
        pair_loss(first, second, evidence.outcome[pairs]),
        thumb_loss(thumbed, threshold, evidence.liked[thumbs]),
    )


def _train(
    heads: Heads,
    evidence: Evidence,
    draws: tuple[Tensor, Tensor],
    settings: RewardSettings,
    generator: torch.Generator,
    progress: Callable[[int], None] | None,
) -> None:
    """AdamW over shuffled ratings; every head ends with its weights at its own best validation loss."""
    optimizer = torch.optim.AdamW(heads.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    pairs = len(evidence.first)
    everything = (torch.arange(pairs), torch.arange(len(evidence.answer)))
    best = torch.full((settings.heads,), math.inf)
    since = torch.zeros(settings.heads)
    kept = {name: value.detach().clone() for name, value in heads.named_parameters()}
    for epoch in range(settings.epochs):
        heads.train()
        for batch in torch.randperm(len(evidence), generator=generator).split(settings.batch_size):
            chosen = batch[batch < pairs], batch[batch >= pairs] - pairs
            losses = _losses(heads, evidence, *chosen)
            weighted = [loss * draw[:, part] for loss, draw, part in zip(losses, draws, chosen, strict=True)]
            optimizer.zero_grad()
            (torch.cat(weighted, dim=1).sum() / len(batch)).backward()
            optimizer.step()
        heads.eval()
        with torch.no_grad():
            validation = _validation_loss(_losses(heads, evidence, *everything), draws)
            better = validation < best - 1e-4
            best = torch.where(better, validation, best)
            since = torch.where(better, 0, since + 1)
            for name, value in heads.named_parameters():
                kept[name][better] = value[better]
        if progress:
            progress(epoch + 1)
        if bool((since >= settings.patience).all()):
            break
    heads.load_state_dict({**heads.state_dict(), **kept})


def _validation_loss(losses: tuple[Tensor, Tensor], draws: tuple[Tensor, Tensor]) -> Tensor:
    """Mean loss of each head [K] over the ratings it never drew."""
    loss, unseen = torch.cat(losses, dim=1), torch.cat(draws, dim=1) == 0
    return (loss * unseen).sum(1) / unseen.sum(1).clamp(min=1)


@torch.no_grad()
def _out_of_bag(heads: Heads, evidence: Evidence, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Reward differences of pairs by the heads that never drew them, and the verdicts: ([n], [n])."""
    rewards = heads(evidence.features)
    difference = rewards[:, evidence.first] - rewards[:, evidence.second]
    unseen = (drawn == 0).float()
    covered = unseen.sum(0) > 0
    mean = (difference * unseen).sum(0)[covered] / unseen.sum(0)[covered]
    return mean, evidence.outcome[covered]
