"""The heads: what of an answer they read, and what of length they count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward.heads import FARTHEST, LENGTHS, USES, Heads, length_features
from reward.settings import LengthUse

WIDTH = 6
WEIGHTS = st.lists(st.lists(st.floats(-50, 50, width=32), min_size=LENGTHS, max_size=LENGTHS), min_size=1, max_size=5)
RATED = st.lists(st.integers(1, 300), min_size=1, max_size=40)
USE = st.sampled_from(USES)


@pytest.fixture
def read() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, WIDTH, generator=generator) * 3 + 1, torch.randint(5, 60, (50,), generator=generator).float()


@pytest.fixture
def heads(read: tuple[Tensor, Tensor]) -> Heads:
    generator = torch.Generator().manual_seed(1)
    return made(torch.randn(3, WIDTH, generator=generator), torch.randn(3, LENGTHS, generator=generator), *read)


def made(quality: Tensor, length: Tensor, features: Tensor, tokens: Tensor) -> Heads:
    """Heads with these weights, on the scale of these rated answers."""
    scales = Heads(features.shape[1], len(quality))
    scales.fit_scales(features, tokens)
    return scales.with_weights(quality, length, features, tokens)


def lengths_alone(weights: list[list[float]], rated: list[int]) -> Heads:
    """Heads that read nothing but the length, from rated answers of these lengths."""
    return made(
        torch.zeros(len(weights), 1),
        torch.tensor(weights, dtype=torch.float32),
        torch.zeros(len(rated), 1),
        torch.tensor(rated, dtype=torch.float32),
    )


def by_length(heads: Heads, tokens: list[int] | range, use: LengthUse) -> Tensor:
    """[K, N] of one answer at these lengths."""
    return heads(torch.zeros(len(tokens), 1), torch.tensor(list(tokens), dtype=torch.float32), use)


def test_features_are_put_on_one_scale(heads: Heads, read: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(heads.standard(read[0]).mean(0), torch.zeros(WIDTH), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads.standard(read[0]).std(0, correction=0), torch.ones(WIDTH))
    torch.testing.assert_close(heads.standard_lengths(read[1]).std(0, correction=0), torch.ones(3))


def test_kept_and_dropped_length(heads: Heads, read: tuple[Tensor, Tensor]) -> None:
    worth = heads.quality @ ((read[0] - heads.mean) / heads.scale).T
    lengths = (length_features(read[1]) - heads.length_mean) / heads.length_scale
    torch.testing.assert_close(heads(*read, "drop"), worth)
    torch.testing.assert_close(heads(*read, "keep"), worth + heads.length @ lengths.T)


@pytest.mark.parametrize("use", USES)
def test_every_head_is_told_from_its_mean_over_the_rated_answers(
    heads: Heads, read: tuple[Tensor, Tensor], use: LengthUse
) -> None:
    torch.testing.assert_close(heads(*read, use).mean(1), torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("use", USES)
def test_what_lies_outside_the_rated_answers_is_read_as_the_nearest_of_them(
    heads: Heads, read: tuple[Tensor, Tensor], use: LengthUse
) -> None:
    features, tokens = read
    far = torch.stack([features.amin(0) - 100, features.amax(0) + 100])
    near = torch.stack([features.amin(0), features.amax(0)])
    ends = torch.stack([tokens.min(), tokens.max()])
    torch.testing.assert_close(heads(far, torch.tensor([1.0, 5000.0]), use), heads(near, ends, use))


def test_one_rated_answer_that_lies_far_out_does_not_open_the_way_there() -> None:
    features, tokens = torch.randn(400, 1, generator=torch.Generator().manual_seed(2)), torch.full((400,), 20.0)
    features[0], tokens[0] = 1000.0, 1.0
    lone = made(torch.ones(1, 1), torch.tensor([[0.0, 0.0, 1.0]]), features, tokens)
    assert float(lone.standard(features).max()) == FARTHEST
    assert float(lone.standard_lengths(tokens).abs().max()) == FARTHEST


@given(WEIGHTS, RATED)
@settings(deadline=None, max_examples=200)
def test_a_length_costs_nothing_at_the_best_and_the_more_the_further_from_it(
    weights: list[list[float]], rated: list[int]
) -> None:
    costs = lengths_alone(weights, rated).length_costs()
    assert costs.shape == (len(weights), max(rated) - min(rated) + 1)
    assert costs.isfinite().all()
    assert (costs >= 0).all()
    assert (costs.min(1).values == 0).all()
    for row in costs:
        best = int(row.argmin())
        assert (row[best:].diff() >= 0).all()
        assert (row[: best + 1].diff() <= 0).all()


@given(WEIGHTS, RATED)
@settings(deadline=None, max_examples=200)
def test_no_length_is_paid_more_than_the_best_rated_one_nor_less_than_it_is_worth(
    weights: list[list[float]], rated: list[int]
) -> None:
    heads = lengths_alone(weights, rated)
    every = range(min(rated), max(rated) + 1)
    cost, keep = (by_length(heads, every, use) + heads.centre[USES.index(use)][:, None] for use in ("cost", "keep"))
    best = keep.max(1).values
    torch.testing.assert_close(cost.max(1).values, torch.zeros(len(weights)))
    assert (cost + best[:, None] <= keep + 1e-3).all()  # never more than was learned


@given(WEIGHTS, RATED, st.integers(1, 1000), st.integers(1, 300), USE)
@settings(deadline=None, max_examples=200)
def test_beyond_the_rated_lengths_that_of_the_nearest_end_is_kept(
    weights: list[list[float]], rated: list[int], beyond: int, below: int, use: LengthUse
) -> None:
    heads = lengths_alone(weights, rated)
    shortest, longest = min(rated), max(rated)
    found = by_length(heads, [longest, longest + beyond, shortest, max(0, shortest - below)], use)
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 2], found[:, 3])


def test_length_that_is_worst_at_the_end_counts_in_full(read: tuple[Tensor, Tensor]) -> None:
    for weight in (-1.0, 1.0):  # people who like short answers, and people who like long ones
        one = made(torch.zeros(1, WIDTH), torch.tensor([[weight, 0.0, 0.0]]), *read)
        torch.testing.assert_close(one(*read, "cost"), one(*read, "keep"))


def test_what_has_cost_something_is_not_paid_back() -> None:
    """A head that learned that 20 tokens are best and that from some length on it all gets better again."""
    rated = list(range(10, 200))
    scale = lengths_alone([[0.0, 0.0, 0.0]], rated).length_scale
    # Of -14 log t + t / 10 - 240 / t the derivative is zero at 20, where it is greatest, and at 120.
    heads = lengths_alone([(torch.tensor([-14.0, 5.0, -240.0]) * scale).tolist()], rated)
    keep, cost = (by_length(heads, rated, use)[0] for use in ("keep", "cost"))
    assert rated[int(keep.argmax())] == rated[int(cost.argmax())] == 20
    assert keep[-1] > keep[110] + 1  # or the test says nothing
    assert (cost[110:] == cost[110]).all()
    torch.testing.assert_close(cost[:110].diff(), keep[:110].diff(), atol=1e-4, rtol=0)
