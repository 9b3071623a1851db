"""An engine on the tiny model, prompts for it, the model alone beside it, and random adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from lm.adapters import Adapter
from lm.engine import Engine
from lm.loading import Base
from lm.settings import EngineSettings, Sampling
from lm.slots import Slots

MakeAdapter = Callable[..., Adapter]
GREEDY = Sampling(temperature=0, max_tokens=12, ignore_eos=True)
PROMPTS = [[(7 * i + 3 * k) % 300 + 6 for k in range(length)] for i, length in enumerate((1, 2, 3, 40, 9, 17, 130, 5))]


def chi_square_bound(degrees: int) -> float:
    """What chi square exceeds by accident in one of 90 million draws: 5.6 standard errors of Wilson and Hilferty's
    cube root (PNAS 17, 1931), which is nearly normal where the square itself has a long tail.
    """
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 5.6 * spread**0.5) ** 3


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


@pytest.fixture
def engine(tiny_base: Base) -> Engine:
    """Not started: the test's own thread steps."""
    return Engine(tiny_base, EngineSettings(slots=4))


@pytest.fixture
def running(tiny_base: Base) -> Iterator[Engine]:
    """It steps in its own thread."""
    with Engine(tiny_base, EngineSettings(slots=4)) as engine:
        yield engine


@pytest.fixture(params=["as many rows as there are", "rounded"])
def widths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to go about the rows of a step, whatever settings a test gives."""
    plain = Slots.__init__

    def rounded(slots: Slots, base: Base, settings: EngineSettings, context: int) -> None:
        plain(slots, base, replace(settings, few_widths=True), context)

    if request.param == "rounded":
        monkeypatch.setattr(Slots, "__init__", rounded)


def greedy_alone(model: Any, prompt: list[int], count: int) -> list[int]:
    ids = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
    )
    return [int(token) for token in ids[0, len(prompt) :]]


def drain(engine: Engine) -> None:
    while engine.step():
        pass
