"""Heads fitted to synthetic ratings whose true preference is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from problems import Problem
from reward.evidence import Evidence
from reward.fit import fit_heads, fit_temperature
from reward.heads import Heads, pair_loss, thumb_loss
from reward.settings import RewardSettings

WIDTH = 12
SETTINGS = RewardSettings(hidden=16, epochs=40)


def synthetic(pairs: int, thumbs: int, noise: float = 0.0, seed: int = 0) -> tuple[Evidence, torch.Tensor]:
    """Ratings of answers whose true reward is a line through their features; returns them and the true direction."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(WIDTH, generator=generator)
    answers = 2 * pairs + thumbs
    features = torch.randn(answers, WIDTH, generator=generator)
    gold = features @ truth
    first, second = torch.arange(pairs), torch.arange(pairs, 2 * pairs)
    outcome = (gold[first] > gold[second]).float()
    outcome = torch.where(torch.rand(pairs, generator=generator) < noise, 1 - outcome, outcome)
    thumbed = torch.arange(2 * pairs, answers)
    person = torch.arange(thumbs) % 2
    strictness = torch.tensor([-2.0, 2.0])  # the second person likes little
    liked = (gold[thumbed] > strictness[person]).float()
    groups = torch.arange(max(pairs, thumbs))
    evidence = Evidence(
        features, first, second, outcome, thumbed, liked, person, groups[:pairs], groups[:thumbs], ["ann", "bo"]
    )
    return evidence, truth


def accuracy(heads: Heads, truth: torch.Tensor) -> float:
    fresh = torch.randn(400, WIDTH, generator=torch.Generator().manual_seed(99))
    reward, gold = heads(fresh).mean(0), fresh @ truth
    return ((reward[:200] > reward[200:]) == (gold[:200] > gold[200:])).float().mean().item()


def test_pairs_teach_the_preference() -> None:
    evidence, truth = synthetic(pairs=300, thumbs=0)
    heads, temperature = fit_heads(evidence, SETTINGS)
    assert accuracy(heads, truth) > 0.9
    assert 0.1 <= temperature <= 20


def test_thumbs_alone_teach_it_and_each_person_has_a_threshold() -> None:
    evidence, truth = synthetic(pairs=0, thumbs=400)
    heads, _ = fit_heads(evidence, SETTINGS)
    assert accuracy(heads, truth) > 0.85
    lenient, strict = heads.threshold.mean(0).tolist()
    assert lenient < strict


def test_both_kinds_together_beat_few_pairs_alone() -> None:
    few, truth = synthetic(pairs=40, thumbs=0)
    mixed, same = synthetic(pairs=40, thumbs=300)
    assert torch.equal(truth, same)
    assert accuracy(fit_heads(mixed, SETTINGS)[0], truth) > accuracy(fit_heads(few, SETTINGS)[0], truth)


def test_noise_in_the_ratings_does_not_overturn_the_preference() -> None:
    evidence, truth = synthetic(pairs=400, thumbs=0, noise=0.2)
    assert accuracy(fit_heads(evidence, SETTINGS)[0], truth) > 0.85


def test_the_same_seed_gives_the_same_heads_and_leaves_global_randomness_alone() -> None:
    evidence, _ = synthetic(pairs=60, thumbs=20)
    state = torch.get_rng_state()
    one, two = (fit_heads(evidence, SETTINGS) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one[0].parameters(), two[0].parameters(), strict=True))
    other, _ = fit_heads(evidence, replace(SETTINGS, seed=1))
    assert not torch.equal(one[0].inner, other.inner)


def test_heads_disagree_more_far_from_the_ratings() -> None:
    heads, _ = fit_heads(synthetic(pairs=200, thumbs=0)[0], SETTINGS)
    near = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(5))
    assert heads(near * 6).std(0).mean() > heads(near).std(0).mean()


def test_too_few_ratings_are_refused_as_nothing_to_do() -> None:
    evidence, _ = synthetic(pairs=3, thumbs=2)
    with pytest.raises(Problem, match="5 ratings") as caught:
        fit_heads(evidence, SETTINGS)
    assert caught.value.status == 3


def test_temperature_recovers_the_scale_of_overconfident_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    honest = torch.randn(4000, generator=generator) * 2
    outcome = (torch.rand(4000, generator=generator) < torch.sigmoid(honest)).float()
    assert fit_temperature(honest * 3, outcome) == pytest.approx(3.0, rel=0.15)


def test_a_tie_pulls_the_rewards_together_and_a_verdict_apart() -> None:
    first = torch.tensor([1.0], requires_grad=True)
    second = torch.tensor([0.0], requires_grad=True)
    (tie,) = torch.autograd.grad(pair_loss(first, second, torch.tensor([0.5])).sum(), first)
    (win,) = torch.autograd.grad(pair_loss(first, second, torch.tensor([1.0])).sum(), first)
    assert tie.item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item() - 0.5)
    assert tie > 0 > win


def test_thumb_loss_is_the_log_chance_of_the_thumb() -> None:
    loss = thumb_loss(torch.tensor([2.0, 2.0]), torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    chance = torch.sigmoid(torch.tensor(1.5))
    torch.testing.assert_close(loss, -torch.stack([chance.log(), (1 - chance).log()]))
