"""A LoRA layer as one step of autograd in place of a dozen.

PEFT computes W x + scale B A x operation by operation: activations are widened to the adapter's float32 and, under
autocast, narrowed again; scaling and adding go over whole outputs; and backward does it all once more. On small models
that takes longer than the products. Here the low-rank part is added to W x inside the product itself, forward and
backward, and nothing of an output's size is kept but what the layer read.

Layers that are anything else than plain LoRA on a plain linear layer, or that somebody watches by hooks (the Fisher
information of A and B, parameters gathered from other processes) or through `torch.func`, go PEFT's way.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class LowRankSum(torch.autograd.Function):
    """x Wᵀ + bias + scale (x Aᵀ) Bᵀ, with gradients by x, A and B; W and bias are frozen.

    x [..., in], W [out, in], bias [out] or None, A [rank, in], B [out, rank]. All is computed in the format of W;
    gradients come back in the format of what they are by.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """The layer's output [..., out]."""
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        narrow_a, narrow_b = a.to(weight.dtype), b.to(weight.dtype)
        low = rows @ narrow_a.T
        out = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        out.addmm_(low, narrow_b.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, narrow_a, narrow_b)
        ctx.scale, ctx.formats, ctx.shape = scale, (x.dtype, a.dtype, b.dtype), x.shape
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by x, A and B, of those that are asked for."""
        rows, low, weight, a, b = ctx.saved_tensors
        by_x, by_a, by_b = ctx.formats
        of_x, of_a, of_b = (ctx.needs_input_grad[place] for place in (0, 3, 4))
        slope = gradient.reshape(len(rows), len(weight))
        grad_x = grad_a = grad_b = None
        if of_b:
            grad_b = (slope.T @ low).to(by_b).mul_(ctx.scale)
        if of_x or of_a:
            thin = (slope @ b).mul_(ctx.scale)
            if of_a:
                grad_a = (thin.T @ rows).to(by_a)
            if of_x:
                grad_x = (slope @ weight).addmm_(thin, a).to(by_x).view(ctx.shape)
        return grad_x, None, None, grad_a, grad_b, None


class FusedLinear(Linear):
    """PEFT's LoRA layer, whose plain case is one step."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x [..., in]; returns [..., out]."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or len(active) != 1 or not self._is_plain(active[0], x):
            return cast(Tensor, super().forward(x, *args, **kwargs))
        a, b = self.lora_A[active[0]].weight, self.lora_B[active[0]].weight
        linear = self.base_layer
        with torch.autocast(x.device.type, enabled=False):
            out = LowRankSum.apply(x, linear.weight, linear.bias, a, b, self.scaling[active[0]])
        return cast(Tensor, out)

    def _is_plain(self, name: str, x: Tensor) -> bool:
        """Whether the layer is W x + scale B A x in one format and nothing else, and nobody watches its parts."""
        if self.disable_adapters or self.merged or name in self.lora_variant:
            return False
        if torch._C._are_functorch_transforms_active():  # vmap and its like look inside, where one step has no inside
            return False
        base, into, out = self.base_layer, self.lora_A[name], self.lora_B[name]
        if any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in (base, into, out)):
            return False
        if torch.is_autocast_enabled(x.device.type):
            formats = {torch.get_autocast_dtype(x.device.type)}
        else:  # an adapter wider than its base is computed with in its own format
            formats = {x.dtype, into.weight.dtype}
        frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
        no_dropout = isinstance(self.lora_dropout[name], nn.Identity) or not self.training
        return formats == {base.weight.dtype} and frozen and no_dropout and out.bias is None


def fuse(model: PeftModel) -> None:
    """Have the LoRA layers of `model` that stand on plain linear layers go in one step; the others stay as they are."""
    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:
            module.__class__ = FusedLinear
