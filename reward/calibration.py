"""From a difference of rewards to the chance that the next verdict says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 10  # of the calibration curve
MINIMUM = 8  # verdicts below which nothing is fitted


@dataclass(frozen=True)
class Calibration:
    """chance = (1 - lapse) sigmoid(difference / temperature) + lapse / 2.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2) cannot say that one verdict in ten is a slip
    however far apart two answers are; the lapse rate of psychophysics can (Wichmann and Hill 2001, equation 1).

    Attributes:
        temperature: above 0, in rewards.
        lapse: share of verdicts given as by a coin, 0 to 1.
    """

    temperature: float = 1.0
    lapse: float = 0.0

    def chance(self, difference: Tensor) -> Tensor:
        """The chance [...] that the first answer is preferred whose reward is higher by `difference` [...]."""
        return (1 - self.lapse) * torch.sigmoid(difference / self.temperature) + self.lapse / 2


def fit_calibration(difference: Tensor) -> Calibration:
    """Temperature and lapse of the least negative log-likelihood; (1, 0) where there is nothing to fit.

    Args:
        difference: [N] reward of the answer that was preferred minus the other's, from heads that did not see it.
    """
    if len(difference) < MINIMUM:
        return Calibration()
    lapse = torch.linspace(0, 0.6, 31)

    def losses(temperature: Tensor) -> Tensor:
        chance = (1 - lapse[:, None]) * torch.sigmoid(difference / temperature) + lapse[:, None] / 2
        return -chance.clamp(min=1e-9).log().sum(1)

    temperatures = torch.logspace(-1, 1.5, 126)
    best = int(torch.stack([losses(each) for each in temperatures]).argmin())  # one at a time: verdicts may be many
    row, column = divmod(best, len(lapse))
    return Calibration(float(temperatures[row]), float(lapse[column]))


def calibration_curve(chance: Tensor) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error and curve.

    Args:
        chance: [N] given to the answer that was preferred.

    Returns:
        The error (Guo et al. 2017, equation 3; NaN of no chances), and by bin of the chance given to the answer thought
        better: its mean chance, the share of verdicts that agreed, and their number.
    """
    if not len(chance):
        return math.nan, []
    confident, right = torch.maximum(chance, 1 - chance), (chance > 0.5).float()
    number = torch.bucketize(confident, torch.linspace(0.5, 1.0, BINS + 1)[1:-1])
    curve, error = [], 0.0
    for i in range(BINS):
        inside = number == i
        if n := int(inside.sum()):
            mean, accuracy = float(confident[inside].mean()), float(right[inside].mean())
            curve.append({"chance": mean, "accuracy": accuracy, "n": n})
            error += n / len(chance) * abs(mean - accuracy)
    return error, curve
