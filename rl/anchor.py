"""The anchor: elastic weight consolidation of the policy's adapter around the serving version.

The penalty lambda / 2 * sum_i F_i (theta_i - theta*_i)^2 is the second-order form of KL(serving || policy) on old
prompts [arXiv 1612.00796; Huszar 2017, arXiv 1712.03847]. F is the true Fisher information: completions are drawn from
the model itself, and gradients of whole sequences' log-likelihood are squared one sequence at a time [van de Ven 2025,
arXiv 2502.11756]. At a fresh adapter B is zero, so the Fisher information of A is exactly zero there: A is free until B
has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lm.likelihood import Completed, batches, log_likelihood
from rl.policy import ACTIVE


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The policy adapter's A and B matrices by name, without the names that wrappers put in front."""
    return {
        name[name.index("base_model.") :]: parameter
        for name, parameter in model.named_parameters()
        if f".lora_A.{ACTIVE}." in name or f".lora_B.{ACTIVE}." in name
    }


def fisher_information(
    model: PeftModel,
    sequences: Sequence[Completed],
    pad_id: int,
    *,
    batch: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Diagonal Fisher information of the adapter: mean over sequences of the squared gradient of log p(completion |
    prompt).

    Both matrices of an adapter are plain linear maps, so the gradient of one sequence is the sum over its positions of
    output gradient times input; a batch of sequences costs one backward pass, and no two sequences are ever added
    before squaring.

    Args:
        model: the policy at the point that is to be held.
        sequences: (token ids of prompt and completion, where the completion starts), completions drawn from the model
        at
            temperature 1.
        pad_id: token that fills up shorter sequences.
        batch: sequences a pass.
        progress: called with the number of finished sequences.

    Returns:
        By parameter name, float32, of the parameter's shape.
    """
    fisher = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in adapter_parameters(model).items()}
    hooks = [
        module.register_forward_hook(_square_gradients(fisher[f"{name}.weight"]))
        for name, module in model.named_modules()
        if f"{name}.weight" in fisher
    ]
    was_training = model.training
    model.eval()
    try:
        done = 0
        for rows in batches(sequences, pad_id, batch, next(model.parameters()).device):
            log_likelihood(model, rows).sum().backward()
            done += len(rows.ids)
            if progress:
                progress(done)
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
        model.train(was_training)
    return {name: total / len(sequences) for name, total in fisher.items()}


def _square_gradients(total: Tensor) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
    """A forward hook that adds the squared gradient of each sequence [B, T, out] x [B, T, in] to `total` [out, in]."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        entering = inputs[0].detach().float()

        def on_gradient(gradient: Tensor) -> None:
            total.add_(torch.einsum("bto,bti->boi", gradient.float(), entering).square().sum(0))

        output.register_hook(on_gradient)

    return hook


@dataclass(frozen=True)
class Anchor:
    """Fisher information and centre of the penalty, by parameter name."""

    fisher: dict[str, Tensor]
    centre: dict[str, Tensor]

    def penalty(self, model: nn.Module, strength: float) -> Tensor:
        """strength / 2 * sum F (theta - theta*)^2, a scalar; for logs and tests, training uses `pull`."""
        terms = [
            (self.fisher[name] * (parameter - self.centre[name]) ** 2).sum()
            for name, parameter in adapter_parameters(model).items()
        ]
        return strength / 2 * torch.stack(terms).sum()

    @torch.no_grad()
    def pull(self, model: nn.Module, strength: float, learning_rate: float) -> None:
        """Add the penalty's gradient to the parameters' gradients, bounded so that one step cannot overshoot the
        centre.

        F is replaced by F / (learning_rate * strength * F + 1) [arXiv 2109.10021, equation 8].
        """
        if not strength:
            return
        for name, parameter in adapter_parameters(model).items():
            if parameter.grad is None:
                continue
            fisher = self.fisher[name]
            bounded = fisher / (learning_rate * strength * fisher + 1.0)
            parameter.grad.add_(strength * bounded * (parameter - self.centre[name]))

    def merged(self, older: Anchor | None, decay: float) -> Anchor:
        """This anchor with an older one's Fisher information added, decayed; the centre stays [arXiv 1805.06370]."""
        if older is None:
            return self
        fisher = {name: new + decay * older.fisher[name].to(new.device) for name, new in self.fisher.items()}
        return Anchor(fisher, self.centre)

    def save(self, file: Path) -> None:
        """Write as safetensors."""
        tensors = {f"fisher/{name}": value for name, value in self.fisher.items()}
        tensors |= {f"centre/{name}": value for name, value in self.centre.items()}
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, file)


def load_anchor(file: Path, device: torch.device | str = "cpu") -> Anchor:
    """Read what `Anchor.save` wrote."""
    tensors = load_file(file, device=str(device))
    parts: dict[str, dict[str, Tensor]] = {"fisher": {}, "centre": {}}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = value
    return Anchor(**parts)


def anchor_here(model: PeftModel, fisher: dict[str, Tensor]) -> Anchor:
    """An anchor centred where the policy stands now."""
    return Anchor(fisher, {name: p.detach().clone() for name, p in adapter_parameters(model).items()})
