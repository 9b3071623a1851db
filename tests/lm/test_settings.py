"""Knobs refuse values outside their ranges."""

from __future__ import annotations

from typing import Any

import pytest

from lm.settings import EngineSettings, Sampling
from problems import Problem


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"max_tokens": 0},
        {"stop": ("fine", "")},
        {"seed": 2**63},
    ],
)
def test_sampling_names_the_wrong_parameter(wrong: dict[str, Any]) -> None:
    with pytest.raises(Problem, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize("name", ["slots", "context", "queue", "prefill", "threads"])
def test_engine_settings_name_the_wrong_knob(name: str) -> None:
    knob: dict[str, Any] = {name: -1}
    with pytest.raises(Problem, match=name):
        EngineSettings(**knob)


def test_the_edges_are_allowed() -> None:
    Sampling(temperature=0, top_p=1, top_k=0, max_tokens=1, seed=-1)
    EngineSettings(slots=1, queue=1, prefill=1)
