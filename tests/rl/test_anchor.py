"""The Fisher information against one gradient at a time and against a closed form; the penalty and its pull."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from lm.likelihood import Completed
from lm.loading import Base
from rl.anchor import Anchor, adapter_parameters, anchor_here, fisher_information, load_anchor
from rl.policy import make_policy
from rl.settings import PPOSettings

SETTINGS = PPOSettings(rank=3, alpha=6.0)


@pytest.fixture
def policy(tiny_base: Base) -> PeftModel:
    """A policy whose adapter is nowhere zero, so that A has information too."""
    model = make_policy(tiny_base, None, SETTINGS, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter_parameters(model).items():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def sequences(count: int) -> list[Completed]:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(4, 15, (count,), generator=generator).tolist()
    return [(torch.randint(5, 300, (n,), generator=generator).tolist(), max(1, n // 3)) for n in lengths]


def one_at_a_time(model: PeftModel, rows: list[Completed]) -> dict[str, torch.Tensor]:
    """The definition: square each sequence's own gradient of its log-likelihood, then average."""
    parameters = adapter_parameters(model)
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for tokens, start in rows:
        ids = torch.tensor([tokens])
        logp = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        likelihood = logp[torch.arange(len(tokens) - 1), ids[0, 1:]][start - 1 :].sum()
        for name, gradient in zip(total, torch.autograd.grad(likelihood, list(parameters.values())), strict=True):
            total[name] += gradient**2
    return {name: value / len(rows) for name, value in total.items()}


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_batched_fisher_equals_one_gradient_at_a_time(policy: PeftModel, tiny_base: Base, batch: int) -> None:
    rows = sequences(10)
    fisher = fisher_information(policy, rows, tiny_base.tokenizer.pad_token_id, batch=batch)
    expected = one_at_a_time(policy, rows)
    assert set(fisher) == set(expected)
    assert any("lora_A" in name for name in fisher)
    for name, value in fisher.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)
        assert value.max() > 0


def test_measuring_leaves_no_trace(policy: PeftModel, tiny_base: Base) -> None:
    policy.train()
    before = {name: parameter.clone() for name, parameter in policy.named_parameters()}
    hooks = [list(module._forward_hooks) for module in policy.modules()]  # transformers may have left some of its own
    fisher_information(policy, sequences(3), tiny_base.tokenizer.pad_token_id, batch=2)
    assert policy.training
    assert all(torch.equal(before[name], parameter) for name, parameter in policy.named_parameters())
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert [list(module._forward_hooks) for module in policy.modules()] == hooks


def test_a_fresh_adapter_has_no_information_in_a(tiny_base: Base) -> None:
    fresh = make_policy(tiny_base, None, SETTINGS, seed=0)
    fisher = fisher_information(fresh, sequences(4), tiny_base.tokenizer.pad_token_id, batch=4)
    for name, value in fisher.items():
        assert bool(value.any()) == ("lora_B" in name)


class _Softmax(nn.Module):
    """Softmax regression in an adapter's clothes: the next token's logits are W times a one-hot of the last token."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.base_model = nn.Module()
        self.base_model.lora_B = nn.ModuleDict({"default": nn.Linear(tokens, tokens, bias=False)})
        self.tokens = tokens

    def forward(self, input_ids: torch.Tensor, **_: object) -> object:
        states = nn.functional.one_hot(input_ids, self.tokens).float()
        return type("Output", (), {"logits": self.base_model.lora_B["default"](states)})


def test_fisher_of_softmax_regression_has_its_closed_form() -> None:
    tokens = 5
    model = _Softmax(tokens)
    chance = model.base_model.lora_B["default"].weight.detach().softmax(0)  # column x: p(y | x)
    draws = torch.Generator().manual_seed(0)
    rows = [
        ([x, int(y)], 1) for x in range(tokens) for y in torch.multinomial(chance[:, x], 4000, True, generator=draws)
    ]
    fisher = fisher_information(model, rows, 0, batch=1000)["base_model.lora_B.default.weight"]
    # E[(1[y = k] - p_k)^2] = p_k (1 - p_k), and each x is one of `tokens` equally frequent ones.
    torch.testing.assert_close(fisher, chance * (1 - chance) / tokens, rtol=0.08, atol=2e-3)


def test_penalty_and_pull_agree_and_the_pull_is_bounded(policy: PeftModel) -> None:
    ones = {name: torch.ones_like(parameter) for name, parameter in adapter_parameters(policy).items()}
    anchor = anchor_here(policy, ones)
    assert anchor.penalty(policy, 10.0).item() == 0.0
    with torch.no_grad():
        for parameter in adapter_parameters(policy).values():
            parameter.add_(0.01)
    expected = torch.autograd.grad(anchor.penalty(policy, 10.0), list(adapter_parameters(policy).values()))
    for parameter in adapter_parameters(policy).values():
        parameter.grad = torch.zeros_like(parameter)
    anchor.pull(policy, 10.0, learning_rate=1e-9)
    for parameter, gradient in zip(adapter_parameters(policy).values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
        parameter.grad.zero_()
    anchor.pull(policy, 1e6, learning_rate=1.0)
    for parameter in adapter_parameters(policy).values():
        assert parameter.grad.abs().max() <= 0.0101  # one step of plain descent goes to the centre, never beyond


def test_an_older_anchor_counts_less_and_the_centre_is_the_new_one(policy: PeftModel, tmp_path: Path) -> None:
    names = adapter_parameters(policy)
    new = anchor_here(policy, {name: torch.full_like(p, 1.0) for name, p in names.items()})
    old = Anchor(
        {name: torch.full_like(p, 2.0) for name, p in names.items()}, {n: torch.zeros_like(p) for n, p in names.items()}
    )
    merged = new.merged(old, decay=0.5)
    merged.save(tmp_path / "anchor.safetensors")
    loaded = load_anchor(tmp_path / "anchor.safetensors")
    for name, parameter in names.items():
        assert torch.equal(loaded.fisher[name], torch.full_like(parameter, 2.0))
        assert torch.equal(loaded.centre[name], parameter)
