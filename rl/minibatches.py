"""A rollout cut into minibatches: a new order each epoch, and the same ones however many processes share the work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def minibatch_rows(answers: int, minibatches: int, seed: int, *, process: int = 0, processes: int = 1) -> Tensor:
    """Which of a process's answers go into which minibatch.

    The rollout falls into groups of as many neighbours as there are minibatches, and each group deals its answers out
    at random, one to each minibatch. A process holds whole groups, so that its part of every minibatch has the same
    size, and a group deals by its place in the whole rollout: what meets in a minibatch does not depend on the number
    of processes. Answers to one prompt are neighbours and land in different minibatches where there are two or more.

    Args:
        answers: that this process holds; a multiple of `minibatches`.
        seed: of this epoch of this rollout.

    Returns:
        Places among this process's answers [minibatches, answers / minibatches].
    """
    groups = answers // minibatches
    generator = torch.Generator().manual_seed(seed)
    dealt = torch.stack([torch.randperm(minibatches, generator=generator) for _ in range(groups * processes)])
    mine = dealt[process * groups : (process + 1) * groups]
    return (mine + torch.arange(groups)[:, None] * minibatches).T


def take_rows(rollout: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """The answers at `rows` [n]: of tensors and lists these places, of scalars and None themselves."""

    def taken(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows.to(value.device)] if value.ndim else value
        return value if value is None else [value[row] for row in rows.tolist()]

    return {name: taken(value) for name, value in rollout.items()}
