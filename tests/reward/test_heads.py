"""The heads, and what of length they count."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reward.heads import Heads, length_features

WIDTH, CONTEXT = 6, 64


@pytest.fixture
def read() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, WIDTH, generator=generator) * 3 + 1, torch.randint(1, 60, (50,), generator=generator).float()


@pytest.fixture
def heads(read: tuple[Tensor, Tensor]) -> Heads:
    made = Heads(WIDTH, 3, CONTEXT)
    made.fit_scales(*read)
    generator = torch.Generator().manual_seed(1)
    return made.with_weights(torch.randn(3, WIDTH, generator=generator), torch.randn(3, 3, generator=generator))


def test_features_are_put_on_one_scale(heads: Heads, read: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(heads.standard(read[0]).mean(0), torch.zeros(WIDTH), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads.standard(read[0]).std(0, correction=0), torch.ones(WIDTH))
    torch.testing.assert_close(heads.standard_lengths(read[1]).std(0, correction=0), torch.ones(3))


def test_kept_and_dropped_length(heads: Heads, read: tuple[Tensor, Tensor]) -> None:
    worth = heads.quality @ ((read[0] - heads.mean) / heads.scale).T
    lengths = (length_features(read[1]) - heads.length_mean) / heads.length_scale
    torch.testing.assert_close(heads(*read, "drop"), worth)
    torch.testing.assert_close(heads(*read, "keep"), worth + heads.length @ lengths.T)


def test_as_a_cost_length_never_pays(heads: Heads, read: tuple[Tensor, Tensor]) -> None:
    same = read[0][:1].expand(CONTEXT, WIDTH)
    every = heads(same, torch.arange(1.0, CONTEXT + 1), "cost")
    assert (every.diff(dim=1) <= 1e-6).all()
    kept = heads(same, torch.arange(1.0, CONTEXT + 1), "keep")
    assert (kept.diff(dim=1) > 1e-3).any()  # or the test says nothing
    torch.testing.assert_close(every, kept.cummin(1).values)


def test_length_that_only_costs_counts_in_full(read: tuple[Tensor, Tensor]) -> None:
    made = Heads(WIDTH, 1, CONTEXT)
    made.fit_scales(*read)
    shorter = made.with_weights(torch.zeros(1, WIDTH), torch.tensor([[-1.0, 0.0, 0.0]]))
    torch.testing.assert_close(shorter(*read, "cost"), shorter(*read, "keep"))
    longer = made.with_weights(torch.zeros(1, WIDTH), torch.tensor([[1.0, 0.0, 0.0]]))
    assert longer(*read, "cost").std() < 1e-6


def test_an_answer_beyond_the_context_is_as_long_as_it(heads: Heads, read: tuple[Tensor, Tensor]) -> None:
    same = read[0][:2]
    found = heads(same, torch.tensor([float(CONTEXT), 10.0 * CONTEXT]), "cost")
    torch.testing.assert_close(
        found[:, 0] - found[:, 1], heads(same, torch.ones(2), "drop") @ torch.tensor([1.0, -1.0])
    )
