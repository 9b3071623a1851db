"""Members fitted together."""

from __future__ import annotations

from typing import Any

import torch

from reward.members import Design, fit_members

COUNTS = {"pair": 60, "thumb": 30, "score": 20, "correction": 10, "tags": 20}


def design_of(made: Any, centre: torch.Tensor | None = None) -> Design:
    return Design(made.features, torch.zeros(len(made.features), 0), centre)


def equal(made: Any, members: int) -> dict[str, torch.Tensor]:
    return {kind: torch.ones(members, len(each)) for kind, each in made.evidence.ratings.items()}


def test_together_they_are_what_each_is_alone(judged: Any) -> None:
    made = judged(COUNTS)
    weights = equal(made, 2)
    weights["pair"][1, ::3] = 0
    spread = torch.tensor([0.5, 4.0])
    both = fit_members(design_of(made), made.evidence, weights, spread, steps=300)
    for member in range(2):
        own = {kind: each[member : member + 1] for kind, each in weights.items()}
        alone = fit_members(design_of(made), made.evidence, own, spread[member : member + 1], steps=300)
        torch.testing.assert_close(both.quality[member], alone.quality[0], atol=5e-3, rtol=0)


def test_a_fit_ends_where_the_posterior_is_flat(judged: Any) -> None:
    made = judged(COUNTS)
    found = fit_members(design_of(made), made.evidence, equal(made, 1), torch.tensor([2.0]), steps=500)
    quality = found.quality.clone().requires_grad_()
    rewards = quality @ made.features.T
    loss = sum(each.sum() for each in found.likelihoods.losses(rewards, made.evidence.ratings).values())
    size = 2.0 / made.features.shape[1] ** 0.5
    (gradient,) = torch.autograd.grad(loss + ((quality / size) ** 2).sum() / 2, quality)
    assert (gradient * size).abs().max() < 1e-2


def test_what_weighs_nothing_changes_nothing(judged: Any) -> None:
    made = judged(COUNTS)
    weights = equal(made, 1)
    weights["pair"][0, 5:] = 0
    before = fit_members(design_of(made), made.evidence, weights, torch.tensor([2.0]))
    made.evidence.ratings["pair"].value[5:] = 0.5
    after = fit_members(design_of(made), made.evidence, weights, torch.tensor([2.0]))
    torch.testing.assert_close(before.quality, after.quality)


def test_without_ratings_that_weigh_members_stay_at_their_prior(judged: Any) -> None:
    made = judged(COUNTS)
    nothing = {kind: torch.zeros_like(each) for kind, each in equal(made, 2).items()}
    centre = torch.linspace(-1, 1, made.features.shape[1])
    prior = torch.stack([torch.zeros_like(centre), torch.ones_like(centre)])
    found = fit_members(design_of(made, centre), made.evidence, nothing, torch.tensor([1.0, 2.0]), prior=prior)
    torch.testing.assert_close(found.quality[0], centre, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.quality[1], centre + 2 / len(centre) ** 0.5, atol=1e-4, rtol=0)


def test_length_heads_take_what_length_explains(judged: Any) -> None:
    made = judged({"pair": 300})
    pairs = made.evidence.ratings["pair"]
    longer = made.tokens[pairs.first] >= made.tokens[pairs.second]
    first = torch.where(longer, pairs.first, pairs.second)
    pairs.second.copy_(torch.where(longer, pairs.second, pairs.first))
    pairs.first.copy_(first)
    lengths = ((made.tokens - made.tokens.mean()) / made.tokens.std())[:, None]
    found = fit_members(Design(made.features, lengths), made.evidence, equal(made, 1), torch.tensor([1.0]))
    assert found.length[0, 0] > 1
    assert found.quality.norm() < found.length[0, 0]
