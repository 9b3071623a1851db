"""A version between the parent and what training found: the simplest guard against forgetting, and a strong one
[arXiv 2309.06256; for whole models arXiv 2109.01903].

What is interpolated is each module's change of weights (alpha / rank) B A, not A and B: the products lie on a straight
line, while a mean of matrices would multiply one version's A with the other's B.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm.adapters import Adapter

WORST = 1e4  # condition number above which the trained A is not followed


@dataclass(frozen=True)
class Interpolation:
    """An adapter on the way, and what its rank could not hold of it: the largest share of a module's change of weights,
    in Frobenius norms.
    """

    adapter: Adapter
    error: float


def interpolated(parent: Adapter | None, trained: Adapter, share: float) -> Interpolation:
    """The adapter whose products are (1 - share) times the parent's and share times the trained one's.

    Without a parent B is scaled, which is exact. Else the sum of two products of rank r has rank 2 r, and the nearest
    product of the trained adapter's rank is taken (Eckart and Young 1936). Of the many A and B that make it, those are
    chosen whose A is nearest to the trained one, so that Fisher information of A and B stays that of the same A and B.

    Args:
        parent: adapter of the serving version, or None for version 0, which changes nothing.
        trained: what training found.
        share: of the way from the parent, above 0 and up to 1.
    """
    if share == 1:
        return Interpolation(trained, 0.0)
    weights, worst = {}, 0.0
    for path, (a, b) in trained.weights.items():
        before = parent.weights.get(path) if parent else None
        if parent is None or before is None:
            weights[path] = (a, share * b)
            continue
        ours, theirs = trained.alpha / trained.rank, parent.alpha / parent.rank
        outs = torch.cat([(1 - share) * theirs / ours * before[1].double(), share * b.double()], dim=1)
        ins = torch.cat([before[0].double(), a.double()])
        new_a, new_b, error = _nearest(outs, ins, a.double())
        weights[path] = (new_a.to(a.dtype), new_b.to(b.dtype))
        worst = max(worst, error)
    return Interpolation(Adapter(trained.rank, trained.alpha, weights), worst)


def _nearest(outs: Tensor, ins: Tensor, like: Tensor) -> tuple[Tensor, Tensor, float]:
    """A [rank, in] near `like`, and B, whose product is nearest to outs [out, k] @ ins [k, in]; the share left out."""
    rank = len(like)
    q_out, r_out = torch.linalg.qr(outs)
    q_in, r_in = torch.linalg.qr(ins.T)
    u, sizes, v = torch.linalg.svd(r_out @ r_in.T)
    rows, columns = (q_in @ v[:rank].T).T, q_out @ u[:, :rank] * sizes[:rank]
    turn = like @ rows.T  # the least squares solution of turn @ rows = like
    if torch.linalg.cond(turn) > WORST:
        turn = torch.eye(rank, dtype=like.dtype, device=like.device) * torch.linalg.norm(like) / rank**0.5
    left_out = float(torch.linalg.norm(sizes[rank:]) / torch.linalg.norm(sizes).clamp(min=1e-300))
    return turn @ rows, torch.linalg.solve(turn, columns, left=False), left_out
