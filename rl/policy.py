"""The policy: a LoRA adapter on the frozen base, started where the serving version stands."""

from __future__ import annotations

from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lm.adapters import Adapter
from lm.attention import attend_shortly
from lm.loading import Base
from lm.twin import twin
from rl.fused import fuse
from rl.settings import PPOSettings

ACTIVE = "default"  # PEFT's name of the adapter that is trained


def make_policy(base: Base, parent: Adapter | None, settings: PPOSettings, seed: int) -> PeftModel:
    """A PEFT model whose trainable adapter computes exactly what the parent version does.

    The base's weights are shared, not copied, and the base's own module is left as it is. A new adapter begins at the
    identity (B = 0); a parent's keeps its rank and alpha.

    Args:
        base: the frozen language model.
        parent: adapter of the serving version, or None for version 0.
        settings: rank and alpha of a new adapter.
        seed: of a new adapter's random A.
    """
    config = LoraConfig(
        r=parent.rank if parent else settings.rank,
        lora_alpha=parent.alpha if parent else settings.alpha,
        target_modules=sorted(parent.weights) if parent else "all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        own = twin(base.model)
        attend_shortly(own)
        model = cast(PeftModel, get_peft_model(own, config))
    fuse(model)
    if parent:
        put_adapter(model, parent)
    return model


@torch.no_grad()
def put_adapter(model: PeftModel, adapter: Adapter) -> None:
    """Make the policy compute what `adapter` does; its rank, alpha and modules must be the policy's own."""
    for name, (a, b) in adapter.weights.items():
        module = model.get_base_model().get_submodule(name)
        module.lora_A[ACTIVE].weight.copy_(a)
        module.lora_B[ACTIVE].weight.copy_(b)


def policy_adapter(model: PeftModel) -> Adapter:
    """The policy's adapter as it stands now, in tensors of its own."""
    config = model.peft_config[ACTIVE]
    return Adapter(
        rank=config.r,
        alpha=float(config.lora_alpha),
        weights={
            name: (_weight(module.lora_A), _weight(module.lora_B))
            for name, module in model.get_base_model().named_modules()
            if hasattr(module, "lora_A") and ACTIVE in module.lora_A
        },
    )


def _weight(layers: nn.ModuleDict) -> torch.Tensor:
    return cast(torch.Tensor, layers[ACTIVE].weight).detach().clone()
