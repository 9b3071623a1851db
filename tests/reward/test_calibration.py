"""Chances from differences of rewards."""

from __future__ import annotations

import pytest
import torch

from reward.calibration import Calibration, calibration_curve, fit_calibration


def verdicts(temperature: float, lapse: float, n: int = 20000) -> torch.Tensor:
    """Differences of the answer that was preferred minus the other's, by people of this temperature and lapse."""
    generator = torch.Generator().manual_seed(3)
    difference = torch.randn(n, generator=generator) * 3 * temperature
    chance = Calibration(temperature, lapse).chance(difference)
    return torch.where(torch.rand(n, generator=generator) < chance, difference, -difference)


@pytest.mark.parametrize(("temperature", "lapse"), [(1.0, 0.0), (3.0, 0.2), (0.5, 0.1)])
def test_temperature_and_lapse_are_found_again(temperature: float, lapse: float) -> None:
    found = fit_calibration(verdicts(temperature, lapse))
    assert found.temperature == pytest.approx(temperature, rel=0.12)
    assert found.lapse == pytest.approx(lapse, abs=0.03)


def test_calibrated_chances_come_true() -> None:
    difference = verdicts(2.5, 0.2)
    before, _ = calibration_curve(Calibration().chance(difference))
    after, curve = calibration_curve(fit_calibration(difference).chance(difference))
    assert before > 0.08
    assert after < 0.015
    assert sum(row["n"] for row in curve) == len(difference)


def test_a_chance_is_a_half_without_a_difference_and_never_certain_with_a_lapse() -> None:
    chance = Calibration(1.0, 0.2).chance(torch.tensor([0.0, 100.0, -100.0]))
    torch.testing.assert_close(chance, torch.tensor([0.5, 0.9, 0.1]))


def test_too_few_verdicts_fit_nothing() -> None:
    assert fit_calibration(torch.ones(7)) == Calibration(1.0, 0.0)


def test_the_curve_and_its_error() -> None:
    chance = torch.tensor([0.96] * 8 + [0.04] * 2 + [0.62] * 10)
    error, curve = calibration_curve(chance)
    assert [row["n"] for row in curve] == [10, 10]
    assert [round(row["accuracy"], 3) for row in curve] == [1.0, 0.8]
    assert error == pytest.approx(0.5 * 0.38 + 0.5 * 0.16, abs=1e-5)
