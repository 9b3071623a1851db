"""LoRA layers in one step against PEFT's own way, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lm.loading import Base
from rl.anchor import adapter_parameters
from rl.fused import FusedLinear, LowRankSum, fuse
from rl.policy import make_policy
from rl.settings import PPOSettings


def layer(fused: bool, dtype: torch.dtype = torch.float32, bias: bool = True, **options: Any) -> tuple[PeftModel, Any]:
    """A model of one LoRA layer, 6 in and 5 out, none of its matrices zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(6, 5, bias=bias)).to(dtype)
        config = LoraConfig(r=2, lora_alpha=6.0, target_modules=["0"], init_lora_weights=False, **options)
        model = get_peft_model(inner, config)
    if fused:
        fuse(model)
    return model, model.base_model.model[0]


def through(model: Any, x: Tensor) -> list[Tensor]:
    """Output, and gradients by input and by both matrices, of a sum with uneven weights."""
    x = x.clone().requires_grad_()
    out = model(x)
    weights = torch.linspace(-1, 2, out.numel()).view_as(out).to(out.dtype)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [out, *torch.autograd.grad((out * weights).sum(), [x, *parameters])]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As many entries as layers went in one step."""
    taken: list[int] = []
    apply: Callable[..., Any] = LowRankSum.apply

    def counted(*given: Any) -> Any:
        taken.append(1)
        return apply(*given)

    monkeypatch.setattr(LowRankSum, "apply", counted)
    return taken


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (1, 0, 6)])
def test_in_float64_both_ways_are_one(steps: list[int], bias: bool, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one, other = (through(layer(fused, bias=bias)[0].double(), x) for fused in (True, False))
    assert len(steps) == 1
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, a, b = (
        torch.randn(shape, dtype=torch.float64, generator=generator)
        for shape in ((2, 3, 7), (5, 7), (5,), (2, 7), (5, 2))
    )
    moving = [each.requires_grad_() for each in (x, a, b)]
    assert torch.autograd.gradcheck(lambda x, a, b: LowRankSum.apply(x, weight, bias, a, b, 2.0), moving)


@pytest.mark.parametrize("wide", [True, False])
def test_under_autocast_formats_are_pefts_and_figures_are_no_further_from_the_truth(
    steps: list[int], wide: bool
) -> None:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    truth = through(layer(False, torch.bfloat16)[0].double(), x.bfloat16().double())
    found = {}
    for fused in (True, False):
        model, _ = layer(fused, torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            found[fused] = through(model, x if wide else x.bfloat16())
    assert len(steps) == 1
    for ours, theirs, exact in zip(found[True], found[False], truth, strict=True):
        assert ours.dtype == theirs.dtype
        error, its_error = ((each.double() - exact).norm() / exact.norm() for each in (ours, theirs))
        assert error < max(1.5 * its_error, 4e-3)


def test_a_narrow_base_outside_of_autocast_goes_pefts_way(steps: list[int]) -> None:
    x = torch.randn(4, 6).bfloat16()
    ours, theirs = (layer(fused, torch.bfloat16)[0](x) for fused in (True, False))
    assert torch.equal(ours, theirs)
    assert not steps


def test_whoever_watches_a_matrix_sees_it_pass(steps: list[int]) -> None:
    model, lora = layer(True)
    seen: list[Tensor] = []
    hook = lora.lora_A["default"].register_forward_hook(lambda module, given, out: seen.append(out))
    model(torch.randn(4, 6))
    assert len(seen) == 1
    assert not steps
    hook.remove()
    model(torch.randn(4, 6))
    assert len(seen) == len(steps) == 1


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}])
def test_what_is_no_plain_lora_goes_pefts_way(steps: list[int], options: dict[str, Any]) -> None:
    model, _ = layer(True, **options)
    model.train()(torch.randn(4, 6))
    assert not steps


def test_adapters_are_chosen_and_turned_off_as_ever(steps: list[int]) -> None:
    model, lora = layer(True)
    model.add_adapter("ref", LoraConfig(r=2, target_modules=["0"]))  # B is zero
    x = torch.randn(4, 6)
    bare = lora.base_layer(x)
    with model.disable_adapter():
        assert torch.equal(model(x), bare)
    assert not steps
    model.set_adapter("ref")
    torch.testing.assert_close(model(x), bare)
    model.set_adapter("default")
    assert not torch.allclose(model(x), bare)
    assert len(steps) == 2


def test_a_policys_layers_are_fused_and_its_parameters_keep_their_names(tiny_base: Base) -> None:
    policy = make_policy(tiny_base, None, PPOSettings(rank=2), seed=0)
    kinds = {type(module) for module in policy.modules() if isinstance(module, Linear)}
    assert kinds == {FusedLinear}
    assert len(adapter_parameters(policy)) == 2 * sum(isinstance(module, FusedLinear) for module in policy.modules())


def test_gradients_of_each_row_apart_are_taken_pefts_way(steps: list[int]) -> None:
    model, _ = layer(True)
    named = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return cast(Tensor, functional_call(model, parameters, (row,))).sum()

    rows = torch.randn(3, 6)
    apart = vmap(grad(loss), in_dims=(None, 0))({name: value.detach() for name, value in named.items()}, rows)
    assert not steps
    model(rows).sum().backward()
    for name, parameter in named.items():
        if parameter.requires_grad:
            torch.testing.assert_close(apart[name].sum(0), parameter.grad)
    assert len(steps) == 1
