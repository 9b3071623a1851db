"""The anchor: elastic weight consolidation of the policy's adapter around the serving version.

The penalty lambda / 2 * sum_i F_i (theta_i - theta*_i)^2 is the second-order form of KL(serving || policy) on old
prompts [arXiv 1612.00796; Huszar 2017, arXiv 1712.03847]. F is the true Fisher information: completions are drawn from
the model itself, and gradients of whole sequences' log-likelihood are squared one sequence at a time [van de Ven 2025,
arXiv 2502.11756].

theta is one of two things. In the space of matrices it is A and B themselves; at a fresh adapter B is zero, so the
information of A is exactly zero there, and A is free until B has moved. In the space of products it is each module's
change of weights (alpha / rank) B A [arXiv 2602.17559]: no information is lost at a fresh adapter, and it does not
matter which A and B make the product; Fisher information and centre then cost two numbers for each weight of the base
that an adapter changes, out x in a module, where the matrices' cost rank x (out + in).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lm.likelihood import Completed, batches, log_likelihood
from lm.output_head import OutputHead
from problems import Problem
from rl.policy import ACTIVE

Space = Literal["matrices", "product"]
Memory = Literal["online", "separate"]
CHUNK = 2**24  # numbers of gradients of whole products that are held at a time: 64 MB of float32


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The policy adapter's A and B matrices by name, without the names that wrappers put in front."""
    return {
        name[name.index("base_model.") :]: parameter
        for name, parameter in model.named_parameters()
        if f".lora_A.{ACTIVE}." in name or f".lora_B.{ACTIVE}." in name
    }


@dataclass(frozen=True)
class Pair:
    """The matrices A [rank, in] and B [out, rank] of one module, which changes its weights by `scale` B A."""

    module: nn.Module
    a: nn.Parameter
    b: nn.Parameter
    scale: float

    def product(self) -> Tensor:
        """The change of weights [out, in]."""
        return self.scale * self.b @ self.a


def adapter_pairs(model: nn.Module) -> dict[str, Pair]:
    """The policy adapter's pairs of matrices by the module's path, without the names that wrappers put in front."""
    return {
        name[name.index("base_model.") :]: Pair(
            module, module.lora_A[ACTIVE].weight, module.lora_B[ACTIVE].weight, module.scaling[ACTIVE]
        )
        for name, module in model.named_modules()
        if ACTIVE in getattr(module, "lora_A", ())
    }


def adapter_state(model: nn.Module, space: Space) -> dict[str, Tensor]:
    """theta: the adapter's matrices by parameter name, or its products by module path."""
    if space == "matrices":
        return dict(adapter_parameters(model))
    return {name: pair.product() for name, pair in adapter_pairs(model).items()}


def fisher_information(
    model: PeftModel,
    sequences: Sequence[Completed],
    pad_id: int,
    *,
    batch: int,
    space: Space = "matrices",
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Diagonal Fisher information of the adapter: mean over sequences of the squared gradient of log p(completion |
    prompt).

    Both matrices of an adapter are plain linear maps, and so is the whole layer in its change of weights. The gradient
    of one sequence is therefore the sum over its positions of output gradient times input; a batch of sequences costs
    one backward pass, and no two sequences are ever added before squaring.

    Args:
        model: the policy at the point that is to be held.
        sequences: (token ids of prompt and completion, where the completion starts), completions drawn from the model
        at
            temperature 1.
        pad_id: token that fills up shorter sequences.
        batch: sequences a pass.
        space: what the gradient is taken in.
        progress: called with the number of finished sequences.

    Returns:
        float32, by parameter name and of the parameter's shape; in the space of products by module path, [out, in].

    Raises:
        Problem: the adapter changes the output head, which is gone through a tile of positions at a time.
    """
    frozen_head(model)
    with torch.no_grad():
        fisher = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in adapter_state(model, space).items()}
    if space == "matrices":
        measured = {f"{name}.weight": module for name, module in model.named_modules() if f"{name}.weight" in fisher}
    else:
        measured = {name: pair.module for name, pair in adapter_pairs(model).items()}
    hooks = [module.register_forward_hook(_square_gradients(fisher[name])) for name, module in measured.items()]
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


def frozen_head(model: PeftModel) -> OutputHead:
    """The policy's output head. Raises Problem if the adapter changes it."""
    head = OutputHead(model)
    if head.adapted:
        raise Problem(
            "The policy's adapter changes the output head, and what holds a training needs it as the parent had it.",
            hint="Train without the head, or set anchor.replay and anchor.strength to 0.",
            status=2,
        )
    return head


def _square_gradients(total: Tensor) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
    """A forward hook that adds the squared gradient of each sequence [B, T, out] x [B, T, in] to `total` [out, in]."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        entering = inputs[0].detach().float()

        def on_gradient(gradient: Tensor) -> None:
            size = max(1, CHUNK // total.numel())
            for out, into in zip(gradient.float().split(size), entering.split(size), strict=True):
                total.add_(torch.einsum("bto,bti->boi", out, into).square_().sum(0))

        output.register_hook(on_gradient)

    return hook


@dataclass(frozen=True)
class Anchor:
    """Fisher information and centre of the penalty: by parameter name, or by module path in the space of products."""

    fisher: dict[str, Tensor]
    centre: dict[str, Tensor]
    space: Space = "matrices"

    def penalty(self, model: nn.Module, strength: float) -> Tensor:
        """strength / 2 * sum F (theta - theta*)^2, a scalar; for logs and tests, training uses `rl.pull`."""
        terms = [
            (self.fisher[name] * (value - self.centre[name]) ** 2).sum()
            for name, value in adapter_state(model, self.space).items()
        ]
        return strength / 2 * torch.stack(terms).sum()

    def merged(self, older: Anchor | None, decay: float, memory: Memory = "online") -> Anchor:
        """This anchor with an older one's information added. The two must be of one space.

        online: the older information counts `decay` as much, around this anchor's centre [arXiv 1805.06370].
        separate: a term a version, each around its own centre and none decayed [arXiv 1612.00796]. A sum of quadratics
        F_k (theta - theta_k)^2 is one quadratic and a constant: with the sum of the F_k, around their weighted mean of
        the theta_k. So it is kept as one, exactly, and costs what one costs however many versions there were.
        """
        if older is None:
            return self
        past = {name: value.to(self.fisher[name].device) for name, value in older.fisher.items()}
        if memory == "online":
            return Anchor(
                {name: new + decay * past[name] for name, new in self.fisher.items()}, self.centre, self.space
            )
        fisher = {name: new + past[name] for name, new in self.fisher.items()}
        centre = {}
        for name, total in fisher.items():
            here = self.centre[name]
            share = torch.where(total > 0, past[name] / total, 0.0)  # where nothing is known, any centre will do
            centre[name] = here + share * (older.centre[name].to(here.device) - here)
        return Anchor(fisher, centre, self.space)

    def save(self, file: Path) -> None:
        """Write as safetensors."""
        tensors = {f"fisher/{name}": value for name, value in self.fisher.items()}
        tensors |= {f"centre/{name}": value for name, value in self.centre.items()}
        whole = {name: value.contiguous().cpu() for name, value in tensors.items()}
        save_file(whole, file, metadata={"space": self.space})


def load_anchor(file: Path, device: torch.device | str = "cpu") -> Anchor:
    """Read what `Anchor.save` wrote."""
    parts: dict[str, dict[str, Tensor]] = {"fisher": {}, "centre": {}}
    with safe_open(file, framework="pt", device=str(device)) as stored:
        space = (stored.metadata() or {}).get("space", "matrices")
        for key in stored.keys():  # noqa: SIM118 - it is no mapping
            part, name = key.split("/", 1)
            parts[part][name] = stored.get_tensor(key)
    return Anchor(**parts, space=space)


def anchor_here(model: PeftModel, fisher: dict[str, Tensor], space: Space = "matrices") -> Anchor:
    """An anchor centred where the policy stands now."""
    return Anchor(fisher, {name: p.detach().clone() for name, p in adapter_state(model, space).items()}, space)
