"""Between two versions: the products on a straight line as near as the rank allows, in matrices like the trained."""

from __future__ import annotations

import pytest
import torch

from lm.adapters import Adapter
from rl.interpolation import interpolated

RANK, INTO, OUT = 3, 8, 6


def random_adapter(seed: int, alpha: float = 6.0) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(RANK, INTO, generator=generator), torch.randn(OUT, RANK, generator=generator)
    return Adapter(RANK, alpha, {"q": (a, b)})


def near(parent: Adapter, seed: int, step: float) -> Adapter:
    other = random_adapter(seed)
    (a, b), (to_a, to_b) = parent.weights["q"], other.weights["q"]
    return Adapter(RANK, parent.alpha, {"q": (a + step * to_a, b + step * to_b)})


def product(adapter: Adapter) -> torch.Tensor:
    a, b = adapter.weights["q"]
    return adapter.alpha / adapter.rank * b.double() @ a.double()


def test_from_nothing_a_share_of_the_product_is_exact() -> None:
    trained = random_adapter(0)
    found = interpolated(None, trained, 0.25)
    assert found.error == 0.0
    torch.testing.assert_close(product(found.adapter), 0.25 * product(trained))
    assert interpolated(None, trained, 1.0).adapter is trained


def test_what_the_rank_can_hold_is_exact_whatever_the_scales() -> None:
    parent, other = random_adapter(1, alpha=3.0), random_adapter(2)
    trained = Adapter(RANK, 6.0, {"q": (parent.weights["q"][0] * 2.0, other.weights["q"][1])})  # rows of the same space
    found = interpolated(parent, trained, 0.5)
    assert found.error < 1e-6
    torch.testing.assert_close(
        product(found.adapter), 0.5 * product(parent) + 0.5 * product(trained), rtol=1e-5, atol=1e-5
    )


def test_what_it_cannot_hold_is_the_nearest_of_its_rank_and_is_told() -> None:
    parent, trained = random_adapter(1), random_adapter(2)
    found = interpolated(parent, trained, 0.3)
    line = 0.7 * product(parent) + 0.3 * product(trained)
    u, sizes, v = torch.linalg.svd(line)
    nearest = u[:, :RANK] @ torch.diag(sizes[:RANK]) @ v[:RANK]
    torch.testing.assert_close(product(found.adapter), nearest, rtol=1e-4, atol=1e-4)
    assert found.error == pytest.approx(float((line - nearest).norm() / line.norm()), rel=1e-6)
    assert found.error > 0.05


def test_matrices_stay_those_of_the_trained_version() -> None:
    parent = random_adapter(1)
    trained = near(parent, 2, step=0.01)
    (a, b), (found_a, found_b) = trained.weights["q"], interpolated(parent, trained, 0.5).adapter.weights["q"]
    step_a, step_b = (float((new - old).norm()) for new, old in zip((a, b), parent.weights["q"], strict=True))
    assert float((found_a - a).norm()) < step_a
    assert float((found_b - b).norm()) < 2 * step_b


def test_a_product_of_less_rank_than_the_adapter_stays_finite() -> None:
    a, b = random_adapter(1).weights["q"]
    parent = Adapter(RANK, 6.0, {"q": (a, b * torch.tensor([1.0, 0.0, 0.0]))})
    found = interpolated(parent, parent, 0.5)
    torch.testing.assert_close(product(found.adapter), product(parent), rtol=1e-5, atol=1e-5)
    assert all(torch.isfinite(matrix).all() for matrix in found.adapter.weights["q"])
