"""What a stream of tasks leaves of each: figures of continual learning, read off one table.

Tasks 0 to T - 1 are learned one after the other. Row 0 of the table R is measured before the first, row i after the
i-th: R[i, j] is the accuracy on task j, between 0 and 1, after i tasks. So R[j + 1, j] is what task j came to when it
had just been learned, and R[T] is what is left in the end.

Backward and forward transfer are those of Lopez-Paz and Ranzato 2017 [arXiv 1706.08840, equations 3 and 4]; forgetting
is that of Chaudhry et al. 2018 [arXiv 1801.10112, section 3.2].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Forgetting:
    """The figures of one stream; all but `average` are differences of accuracies and may be negative.

    Attributes:
        average: mean accuracy on all tasks after the last.
        new_task_gain: mean over tasks of what learning it gave: R[j + 1, j] - R[j, j].
        backward_transfer: mean over all tasks but the last of R[T, j] - R[j + 1, j]; below zero is forgetting. NaN for
            one task.
        forward_transfer: mean over all tasks but the first of R[j, j] - R[0, j]: what earlier tasks gave to one not
            learned yet. NaN for one task.
        forgetting: mean over all tasks but the last of the best accuracy it ever had before the end, less that in the
            end; a task's rows before it was learned count, so that what the start knew can be lost too. NaN for one
            task.
        maximum_forgetting: the greatest of these over the tasks. NaN for one task.
    """

    average: float
    new_task_gain: float
    backward_transfer: float
    forward_transfer: float
    forgetting: float
    maximum_forgetting: float


def forgetting(table: Sequence[Sequence[float]] | Table) -> Forgetting:
    """The figures of a table [T + 1, T], its first row the start.

    Raises:
        ValueError: another shape, or an entry that is no finite number.
    """
    r = np.asarray(table, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] < 1 or r.shape[0] != r.shape[1] + 1:
        raise ValueError(f"a table of T tasks is T + 1 rows of T accuracies, not {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError("an accuracy is missing from the table")
    start, learned, before, end = r[0], np.diagonal(r, offset=-1), np.diagonal(r), r[-1]
    lost = (r[:-1].max(0) - end)[:-1]
    single = r.shape[1] == 1
    return Forgetting(
        average=float(end.mean()),
        new_task_gain=float((learned - before).mean()),
        backward_transfer=float("nan") if single else float((end - learned)[:-1].mean()),
        forward_transfer=float("nan") if single else float((before - start)[1:].mean()),
        forgetting=float("nan") if single else float(lost.mean()),
        maximum_forgetting=float("nan") if single else float(lost.max()),
    )


def paired_interval(ours: Sequence[float], theirs: Sequence[float], resamples: int = 10_000) -> dict[str, float]:
    """Mean difference of two arms that ran on the same seeds, and the middle 95 % of it over resamples of the seeds.

    The percentile bootstrap [Efron and Tibshirani 1993, chapter 13], the same at each call. With few seeds it is too
    narrow: for six normal differences 0.85 of such intervals hold the mean.

    Args:
        ours, theirs: one figure a seed, in the same order.

    Returns:
        `difference` (ours - theirs), `low`, `high`.

    Raises:
        ValueError: no seeds, or not the same number of them.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"pairs are needed, not {len(ours)} figures and {len(theirs)}")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(differences), size=(resamples, len(differences)))
    low, high = np.quantile(differences[drawn].mean(1), (0.025, 0.975))
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}
