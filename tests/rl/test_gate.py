"""The gate's verdicts on figures that are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lm.adapters import Adapter
from rl.gate import Comparison, comparison_checks, integrity_checks, reward_check
from rl.settings import GateSettings

GOOD = Comparison(
    prompts=128,
    wins=90,
    losses=30,
    ties=8,
    parent_length=20.0,
    candidate_length=14.0,
    empty=0.0,
    kl=2.0,
    before={"service": 0.9, "education": 0.5},
    after={"service": 0.89, "education": 0.52},
    questions={"service": 150, "education": 150},
)


def adapter(b: float, rank: int = 2) -> Adapter:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(rank, 4, generator=generator)
    return Adapter(rank, 4.0, {"model.layers.0.self_attn.q_proj": (a, torch.full((4, rank), b))})


def failed(measured: Comparison) -> list[str]:
    return [check.name for check in comparison_checks(measured, GateSettings()) if not check.passed]


def test_a_better_candidate_that_forgot_nothing_passes() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"wins": 66, "losses": 60}, "reward_win_rate"),  # ahead, but not beyond doubt
        ({"after": {"service": 0.86, "education": 0.6}}, "skill:service"),
        ({"candidate_length": 41.0}, "length_growth"),
        ({"candidate_length": 3.0}, "length_shrinkage"),
        ({"empty": 0.1}, "empty_answers"),
        ({"kl": 20.0}, "kl"),
        ({"kl": float("nan")}, "kl"),
    ],
)
def test_each_fault_is_rejected_by_name(change: dict[str, object], name: str) -> None:
    assert failed(replace(GOOD, **change)) == [name]


def test_a_reward_model_that_guesses_may_not_judge() -> None:
    none = {"accuracy": float("nan"), "n": 0}
    assert reward_check({"accuracy": 0.8, "n": 30}, none, GateSettings()).passed
    assert not reward_check({"accuracy": 0.49, "n": 53}, none, GateSettings()).passed
    assert not reward_check(none, none, GateSettings()).passed  # no pair at all


def test_few_held_out_pairs_are_helped_by_those_left_out_in_turn() -> None:
    few = {"accuracy": 8 / 11, "n": 11}
    assert not reward_check(few, {"accuracy": float("nan"), "n": 0}, GateSettings()).passed
    check = reward_check(few, {"accuracy": 0.75, "n": 80}, GateSettings())
    assert check.passed
    assert check.figure == pytest.approx(68 / 91)
    assert "11 held out, 80 left out in turn" in check.why
    assert not reward_check(few, {"accuracy": 0.45, "n": 80}, GateSettings()).passed


def test_a_drop_of_exactly_the_allowance_passes() -> None:
    assert failed(replace(GOOD, before={"service": 0.90}, after={"service": 0.87})) == []


def test_an_adapter_equal_to_its_parent_does_not_pass() -> None:
    names = {check.name: check.passed for check in integrity_checks(adapter(0.5), adapter(0.5), steps=3)}
    assert names == {"trained": True, "adapter_finite": True, "adapter_changed": False}


def test_a_new_adapter_that_is_still_the_base_does_not_pass() -> None:
    assert not all(check.passed for check in integrity_checks(None, adapter(0.0), steps=3))
    assert all(check.passed for check in integrity_checks(None, adapter(0.1), steps=3))


def test_nan_and_a_training_of_no_steps_do_not_pass() -> None:
    names = {check.name: check.passed for check in integrity_checks(None, adapter(float("nan")), steps=0)}
    assert names == {"trained": False, "adapter_finite": False, "adapter_changed": False}
