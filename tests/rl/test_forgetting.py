"""The figures of a stream of tasks, against tables whose figures are known by hand, and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl.forgetting import forgetting, paired_interval

# Three tasks. The first is learned to .9, falls to .4, ends at .5; the second is learned and half kept.
TABLE = [
    [0.2, 0.1, 0.3],
    [0.9, 0.2, 0.3],
    [0.4, 0.8, 0.1],
    [0.5, 0.7, 0.6],
]


def test_figures_of_a_table_worked_out_by_hand() -> None:
    found = forgetting(TABLE)
    assert found.average == pytest.approx((0.5 + 0.7 + 0.6) / 3)
    assert found.new_task_gain == pytest.approx(((0.9 - 0.2) + (0.8 - 0.2) + (0.6 - 0.1)) / 3)
    assert found.backward_transfer == pytest.approx(((0.5 - 0.9) + (0.7 - 0.8)) / 2)
    assert found.forward_transfer == pytest.approx(((0.2 - 0.1) + (0.1 - 0.3)) / 2)
    assert found.forgetting == pytest.approx((0.4 + 0.1) / 2)
    assert found.maximum_forgetting == pytest.approx(0.4)


def test_figures_equal_their_definitions_on_any_table() -> None:
    rng = np.random.default_rng(0)
    for tasks in (2, 4, 7):
        r = rng.random((tasks + 1, tasks))
        found = forgetting(r)
        backward = sum(r[tasks, j] - r[j + 1, j] for j in range(tasks - 1)) / (tasks - 1)
        forward = sum(r[j, j] - r[0, j] for j in range(1, tasks)) / (tasks - 1)
        lost = [max(r[i, j] for i in range(tasks)) - r[tasks, j] for j in range(tasks - 1)]
        assert found.backward_transfer == pytest.approx(backward)
        assert found.forward_transfer == pytest.approx(forward)
        assert found.forgetting == pytest.approx(sum(lost) / len(lost))
        assert found.maximum_forgetting == pytest.approx(max(lost))


def test_a_task_that_was_best_at_the_start_is_forgotten_though_backward_transfer_is_zero() -> None:
    found = forgetting([[0.9, 0.1], [0.6, 0.1], [0.6, 0.8]])
    assert found.backward_transfer == 0.0
    assert found.maximum_forgetting == pytest.approx(0.3)


def test_getting_better_at_an_old_task_is_negative_forgetting() -> None:
    found = forgetting([[0.1, 0.1], [0.5, 0.1], [0.8, 0.9]])
    assert found.backward_transfer == pytest.approx(0.3)
    assert found.maximum_forgetting == pytest.approx(-0.3)


def test_one_task_has_nothing_to_transfer() -> None:
    found = forgetting([[0.2], [0.7]])
    assert (found.average, found.new_task_gain) == (0.7, pytest.approx(0.5))
    assert math.isnan(found.backward_transfer)
    assert math.isnan(found.forward_transfer)
    assert math.isnan(found.maximum_forgetting)


@pytest.mark.parametrize("table", [[], [[]], [[0.5, 0.5], [0.5, 0.5]], [[0.1], [0.2], [0.3]], [[0.5], [math.nan]]])
def test_a_table_of_another_shape_or_with_a_gap_is_refused(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"table"):
        forgetting(table)


def test_a_paired_difference_is_sharper_than_its_two_sides() -> None:
    theirs = [0.30, 0.50, 0.70, 0.40, 0.60, 0.55]
    ours = [each + gain for each, gain in zip(theirs, [0.10, 0.12, 0.08, 0.11, 0.09, 0.10], strict=True)]
    found = paired_interval(ours, theirs)
    assert found["difference"] == pytest.approx(0.10)
    assert 0.08 <= found["low"] < 0.10 < found["high"] <= 0.12
    assert found == paired_interval(ours, theirs)
    swapped = paired_interval(theirs, ours)
    assert swapped["difference"] == pytest.approx(-0.10)
    assert swapped["high"] == pytest.approx(-found["low"], abs=2e-3)


def test_pairs_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_interval([], [])
    with pytest.raises(ValueError, match="pairs"):
        paired_interval([0.1, 0.2], [0.1])
