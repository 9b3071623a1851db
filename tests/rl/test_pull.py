"""The pull against the penalty's own gradient, and that no strength makes it overshoot."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel

from lm.loading import Base
from rl.anchor import Space, adapter_parameters, adapter_state, anchor_here
from rl.policy import make_policy
from rl.pull import Pull
from rl.settings import PPOSettings


@pytest.fixture
def policy(tiny_base: Base) -> PeftModel:
    """A policy whose adapter is nowhere zero, so that A has information too."""
    model = make_policy(tiny_base, None, PPOSettings(rank=3, alpha=6.0), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter_parameters(model).items():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("space", ["matrices", "product"])
def test_penalty_and_pull_agree_and_the_pull_is_bounded(policy: PeftModel, space: Space) -> None:
    generator = torch.Generator().manual_seed(3)
    fisher = {name: torch.rand(p.shape, generator=generator) for name, p in adapter_state(policy, space).items()}
    anchor = anchor_here(policy, fisher, space)
    assert anchor.penalty(policy, 10.0).item() == 0.0
    parameters = list(adapter_parameters(policy).values())
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.01)
            parameter.grad = torch.zeros_like(parameter)
    expected = torch.autograd.grad(anchor.penalty(policy, 10.0), parameters)
    Pull(anchor, policy, 10.0, learning_rate=1e-9)()
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
    for strength in (1.0, 1e6):  # plain descent by the pull comes nearer each step, however strong it is
        for _ in range(3):
            before = anchor.penalty(policy, 1.0).item()
            for parameter in parameters:
                parameter.grad.zero_()
            Pull(anchor, policy, strength, learning_rate=1.0)()
            with torch.no_grad():
                for parameter in parameters:
                    parameter.sub_(parameter.grad)
            assert anchor.penalty(policy, 1.0).item() < before


@pytest.mark.parametrize("space", ["matrices", "product"])
def test_where_nothing_is_known_nothing_is_pulled(policy: PeftModel, space: Space) -> None:
    nothing = {name: torch.zeros_like(value) for name, value in adapter_state(policy, space).items()}
    pull = Pull(anchor_here(policy, nothing, space), policy, 300.0, learning_rate=3e-4)
    with torch.no_grad():
        for parameter in adapter_parameters(policy).values():
            parameter.add_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    pull()
    assert not any(parameter.grad.any() for parameter in adapter_parameters(policy).values())
