"""Every kind's likelihood against the same formula written down independently in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reward.evidence import Ratings
from reward.likelihoods import Likelihoods

MEMBERS, PEOPLE, ANSWERS, RATINGS = 3, 4, 12, 40
TAGS = ["Correct", "Too long", "odd"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def likelihoods() -> Likelihoods:
    """Parameters that are nowhere zero."""
    made = Likelihoods(MEMBERS, PEOPLE, TAGS).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in made.parameters():
            each += torch.randn(each.shape, generator=generator, dtype=torch.float64) * 0.5
    return made.requires_grad_(False)


@pytest.fixture
def rewards() -> Tensor:
    return torch.randn(MEMBERS, ANSWERS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def ratings(value: Tensor, seed: int = 2) -> Ratings:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(ANSWERS, (len(value),), generator=generator)
    second = (first + 1 + torch.randint(ANSWERS - 1, (len(value),), generator=generator)) % ANSWERS
    person = torch.randint(PEOPLE, (len(value),), generator=generator)
    group = torch.arange(len(value))
    return Ratings(first, second, value.double(), person, group, torch.ones(len(value), dtype=torch.bool))


def chance(likelihoods: Likelihoods, kind: str, rewards: Tensor, each: Ratings) -> np.ndarray:
    return likelihoods.losses(rewards, {kind: each})[kind].neg().exp().numpy()


def test_pairs_are_a_multinomial_logit_of_four_verdicts(likelihoods: Likelihoods, rewards: Tensor) -> None:
    each = ratings(torch.tensor([1.0, 0.5, 0.0]).repeat(14)[:RATINGS])
    found = chance(likelihoods, "pair", rewards, each)
    r, b = rewards.numpy(), (likelihoods.demand[:, None] + likelihoods.strictness).numpy()
    for m in range(MEMBERS):
        for i in range(RATINGS):
            r1, r2 = r[m, each.first[i]], r[m, each.second[i]]
            tie = math.sqrt(math.exp(r1) * math.exp(r2)) * math.exp(float(likelihoods.tie[m]))
            neither = math.exp(b[m, each.person[i]] + float(likelihoods.neither[m]))
            said = {1.0: math.exp(r1), 0.5: tie, 0.0: neither}[float(each.value[i])]
            assert found[m, i] == pytest.approx(said / (math.exp(r1) + math.exp(r2) + tie + neither), abs=1e-6)


def test_the_four_chances_of_a_pair_sum_to_one(likelihoods: Likelihoods, rewards: Tensor) -> None:
    each = ratings(torch.ones(RATINGS))
    turned = Ratings(each.second, each.first, each.value, each.person, each.group, each.uniform)
    total = chance(likelihoods, "pair", rewards, each) + chance(likelihoods, "pair", rewards, turned)
    for value in (0.5, 0.0):
        total = total + chance(likelihoods, "pair", rewards, ratings(torch.full((RATINGS,), value)))
    np.testing.assert_allclose(total, 1, atol=1e-9)


def test_without_ties_and_neither_a_pair_is_bradley_and_terry(likelihoods: Likelihoods, rewards: Tensor) -> None:
    likelihoods.tie.fill_(-50)
    likelihoods.neither.fill_(-50)
    each = ratings(torch.ones(RATINGS))
    difference = (rewards[:, each.first] - rewards[:, each.second]).numpy()
    np.testing.assert_allclose(chance(likelihoods, "pair", rewards, each), sigmoid(difference), atol=1e-9)


def test_neither_is_likelier_by_who_asks_more(likelihoods: Likelihoods, rewards: Tensor) -> None:
    each = ratings(torch.zeros(RATINGS))
    before = chance(likelihoods, "pair", rewards, each)
    likelihoods.strictness[:, 2] += 1
    after = chance(likelihoods, "pair", rewards, each)
    mine = (each.person == 2).numpy()
    assert mine.any()
    assert (after[:, mine] > before[:, mine]).all()
    np.testing.assert_array_equal(after[:, ~mine], before[:, ~mine])


def test_corrections_and_thumbs(likelihoods: Likelihoods, rewards: Tensor) -> None:
    each = ratings(torch.ones(RATINGS))
    slope = likelihoods.log_slope["correction"].exp()[:, None]
    apart = (slope * (rewards[:, each.first] - rewards[:, each.second])).numpy()
    np.testing.assert_allclose(chance(likelihoods, "correction", rewards, each), sigmoid(apart), atol=1e-9)
    slope = likelihoods.log_slope["thumb"].exp()[:, None]
    above = (slope * (rewards[:, each.first] - likelihoods.threshold[:, each.person])).numpy()
    np.testing.assert_allclose(chance(likelihoods, "thumb", rewards, each), sigmoid(above), atol=1e-9)
    down = ratings(torch.zeros(RATINGS))
    np.testing.assert_allclose(chance(likelihoods, "thumb", rewards, down), sigmoid(-above), atol=1e-9)


def test_scores_are_proportional_odds_around_the_persons_threshold(likelihoods: Likelihoods, rewards: Tensor) -> None:
    cuts = likelihoods.cuts.numpy()
    assert (np.diff(cuts, axis=1) > 0).all()
    total = np.zeros((MEMBERS, RATINGS))
    for score in range(1, 11):
        each = ratings(torch.full((RATINGS,), float(score)))
        slope = likelihoods.log_slope["score"].exp()[:, None]
        above = (slope * (rewards[:, each.first] - likelihoods.threshold[:, each.person])).numpy()
        upper = sigmoid(cuts[:, score - 1, None] - above) if score < 10 else 1.0
        lower = sigmoid(cuts[:, score - 2, None] - above) if score > 1 else 0.0
        found = chance(likelihoods, "score", rewards, each)
        np.testing.assert_allclose(found, upper - lower, atol=1e-6)
        total += found
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_tags_each_by_itself(likelihoods: Likelihoods, rewards: Tensor) -> None:
    value = torch.randint(2, (RATINGS, len(TAGS)), generator=torch.Generator().manual_seed(5)).double()
    each = ratings(value)
    reward = rewards[:, each.first].numpy()[:, :, None]
    up = sigmoid(likelihoods.tag_base.numpy()[:, None] + likelihoods.tag_slope.numpy()[:, None] * reward)
    expected = -np.log(np.where(value.numpy() == 1, up, 1 - up)).mean(2)
    np.testing.assert_allclose(likelihoods.losses(rewards, {"tags": each})["tags"].numpy(), expected, atol=1e-9)


def test_tags_of_the_page_begin_on_the_side_that_they_speak_for() -> None:
    assert Likelihoods(1, 1, TAGS).tag_slope[0].tolist() == [1.0, -1.0, 0.0]


def test_the_contrary_of_what_was_said(likelihoods: Likelihoods, rewards: Tensor) -> None:
    pair = ratings(torch.tensor([1.0, 0.5, 0.0, 1.0]))
    turned = Ratings(pair.second, pair.first, torch.ones(4).double(), pair.person, pair.group, pair.uniform)
    one = ratings(torch.ones(4))
    contrary = likelihoods.contrary_losses(
        rewards, {"pair": pair, "thumb": one, "score": ratings(torch.tensor([1.0, 4.0, 10.0, 7.0])), "tags": one}
    )
    assert set(contrary) == {"pair", "thumb", "score"}  # a tag has none
    decided = chance(likelihoods, "pair", rewards, turned)
    straight = chance(likelihoods, "pair", rewards, Ratings(**{**vars(pair), "value": torch.ones(4).double()}))
    found = contrary["pair"].neg().exp().numpy()
    np.testing.assert_allclose(found[:, [0, 3]], decided[:, [0, 3]], atol=1e-9)
    np.testing.assert_allclose(found[:, [1, 2]], ((decided + straight) / 2)[:, [1, 2]], atol=1e-9)
    down = chance(likelihoods, "thumb", rewards, ratings(torch.zeros(4)))
    np.testing.assert_allclose(contrary["thumb"].neg().exp().numpy(), down, atol=1e-9)
    mirrored = chance(likelihoods, "score", rewards, ratings(torch.tensor([10.0, 7.0, 1.0, 4.0])))
    np.testing.assert_allclose(contrary["score"].neg().exp().numpy(), mirrored, atol=1e-9)


@pytest.mark.parametrize("kind", ["pair", "correction", "thumb", "score"])
def test_extreme_rewards_have_finite_losses_and_gradients(kind: str) -> None:
    likelihoods = Likelihoods(1, PEOPLE, [])
    rewards = torch.tensor([[-60.0, 60.0]]).repeat(1, ANSWERS // 2).requires_grad_()
    values = {"score": torch.tensor([1.0, 5.0, 10.0]).repeat(4)}.get(kind, torch.tensor([1.0, 0.0]).repeat(6))
    each = ratings(values)
    each = Ratings(**{**vars(each), "value": each.value.float()})
    loss = likelihoods.losses(rewards, {kind: each})[kind]
    assert bool(loss.isfinite().all())
    loss.sum().backward()
    assert rewards.grad is not None
    assert bool(rewards.grad.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in likelihoods.parameters() if p.grad is not None)


def test_the_prior_pulls_every_parameter_back() -> None:
    fresh = Likelihoods(2, PEOPLE, TAGS)
    assert fresh.prior().abs().max() < 1e-12
    for name, each in fresh.named_parameters():
        with torch.no_grad():
            each[0] += 1
        assert fresh.prior()[0] > 0, name
        assert fresh.prior()[1] < 1e-12, name
        with torch.no_grad():
            each[0] -= 1


def test_some_of_the_members(likelihoods: Likelihoods, rewards: Tensor) -> None:
    some = likelihoods.taken(torch.tensor([2, 0]))
    each = {"pair": ratings(torch.tensor([1.0, 0.5, 0.0]))}
    whole = likelihoods.losses(rewards, each)["pair"][[2, 0]]
    torch.testing.assert_close(some.losses(rewards[[2, 0]].float(), each)["pair"].double(), whole, atol=1e-5, rtol=0)
