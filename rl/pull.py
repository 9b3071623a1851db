"""The anchor's pull: the penalty's gradient, bounded so that one step cannot overshoot the centre."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rl.anchor import Anchor, Pair, adapter_pairs, adapter_parameters


class Pull:
    """Adds the penalty's bounded gradient to a policy's gradients, at one strength and one learning rate.

    F is replaced by F / (learning_rate * strength * c * F + 1) [arXiv 2109.10021, equation 8, where c is 1]. In the
    space of products a plain step along the gradients of A and B moves the product D by -learning_rate * scale^2 *
    (G A'A + B B' G) to first order, where G is the penalty's gradient by D. That map of G has no eigenvalue above c =
    scale^2 (|AA'| + |B'B|), in Frobenius norms; with it the step overshoots in no direction.

    It is computed as (theta - theta*) / (1 / (strength F) + learning_rate c), whose first term stays the same between
    steps: where F is 0 it is infinite, and the pull is 0.

    Args:
        anchor: Fisher information and centre; moved to the model's device.
        model: the policy.
        strength: lambda, above 0.
        learning_rate: of the optimizer.
    """

    def __init__(self, anchor: Anchor, model: nn.Module, strength: float, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._held: list[tuple[nn.Parameter | Pair, Tensor, Tensor]] = []
        matrices: Mapping[str, nn.Parameter | Pair] = adapter_parameters(model)
        device = next(model.parameters()).device
        for name, held in (matrices if anchor.space == "matrices" else adapter_pairs(model)).items():
            softness = 1.0 / (strength * anchor.fisher[name].to(device))
            self._held.append((held, anchor.centre[name].to(device), softness))

    @torch.no_grad()
    def __call__(self) -> None:
        """Add it; a parameter without a gradient stays without one."""
        for held, centre, softness in self._held:
            if isinstance(held, Pair):
                self._pull_product(held, centre, softness)
            elif held.grad is not None:
                held.grad.add_((held - centre).div_(softness + self.learning_rate))

    def _pull_product(self, pair: Pair, centre: Tensor, softness: Tensor) -> None:
        a, b, scale = pair.a, pair.b, pair.scale
        steepest = scale**2 * (torch.linalg.norm(a @ a.T) + torch.linalg.norm(b.T @ b))
        slope = torch.addmm(centre, b, a, beta=-1.0, alpha=scale)
        slope.div_(softness + self.learning_rate * steepest)
        if a.grad is not None:
            a.grad.addmm_(b.T, slope, alpha=scale)
        if b.grad is not None:
            b.grad.addmm_(slope, a.T, alpha=scale)
