"""Random adapters for the tiny model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lm.adapters import Adapter
from lm.loading import Base

MakeAdapter = Callable[..., Adapter]


@pytest.fixture(scope="session")
def make_adapter(tiny_base: Base) -> MakeAdapter:
    """Makes a random adapter; large enough a `scale` changes most greedy tokens."""

    def make(
        rank: int = 4,
        alpha: float = 8.0,
        seed: int = 0,
        scale: float = 0.3,
        modules: tuple[str, ...] = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"),
    ) -> Adapter:
        draws = torch.Generator().manual_seed(seed)
        weights = {}
        for path in modules:
            wide, narrow = tiny_base.model.get_parameter(f"{path}.weight").shape
            a = torch.randn(rank, narrow, generator=draws) * scale
            weights[path] = a, torch.randn(wide, rank, generator=draws) * scale
        return Adapter(rank, alpha, weights)

    return make
