"""The Fisher information against one gradient at a time and against a closed form; the penalty and its pull."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.func import functional_call, grad, vmap
from transformers import LlamaConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutput

from lm.likelihood import Completed
from lm.loading import Base
from lm.twin import twin
from problems import Problem
from rl import anchor as anchor_module
from rl.anchor import (
    Anchor,
    Space,
    adapter_pairs,
    adapter_parameters,
    adapter_state,
    anchor_here,
    fisher_information,
    load_anchor,
)
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


def with_products(model: PeftModel, products: dict[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The policy's logits with the given changes of weights added to its own, by definition: hooks add D x."""

    def run(ids: torch.Tensor) -> torch.Tensor:
        hooks = [
            pair.module.register_forward_hook(lambda module, inputs, out, d=products[name]: out + inputs[0] @ d.T)
            for name, pair in adapter_pairs(model).items()
        ]
        logits = model(input_ids=ids).logits
        for hook in hooks:
            hook.remove()
        return logits

    return run


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_fisher_of_products_equals_one_gradient_at_a_time(
    policy: PeftModel, tiny_base: Base, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(anchor_module, "CHUNK", chunk)
    rows = sequences(6)
    fisher = fisher_information(policy, rows, tiny_base.tokenizer.pad_token_id, batch=4, space="product")
    state = adapter_state(policy, "product")
    moved = {name: torch.zeros_like(value, requires_grad=True) for name, value in state.items()}
    total = {name: torch.zeros_like(value) for name, value in state.items()}
    run = with_products(policy, moved)
    for tokens, start in rows:
        ids = torch.tensor([tokens])
        logp = run(ids)[0, :-1].log_softmax(-1)
        likelihood = logp[torch.arange(len(tokens) - 1), ids[0, 1:]][start - 1 :].sum()
        for name, gradient in zip(total, torch.autograd.grad(likelihood, list(moved.values())), strict=True):
            total[name] += gradient**2 / len(rows)
    assert set(fisher) == set(total)
    for name, value in fisher.items():
        torch.testing.assert_close(value, total[name], rtol=1e-3, atol=1e-6)
        assert value.max() > 0


def test_hooks_equal_gradients_by_vmap(policy: PeftModel, tiny_base: Base) -> None:
    """torch.func's way to one gradient a sequence; it needs sequences of one length, and a forward pass that can be
    mapped over.
    """
    policy.get_base_model().set_attn_implementation("eager")
    ids = torch.randint(5, 300, (6, 9), generator=torch.Generator().manual_seed(4))
    parameters = {name: p.detach() for name, p in policy.named_parameters() if "lora_" in name}
    causal = torch.full((1, 1, 9, 9), -1e9).triu(1)

    def likelihood(values: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        reads = {"input_ids": row[None], "attention_mask": causal, "use_cache": False}
        logits = functional_call(policy, values, (), reads).logits
        return logits[0, 3:-1].log_softmax(-1).gather(-1, row[4:, None]).sum()

    gradients = vmap(grad(likelihood), in_dims=(None, 0), chunk_size=4)(parameters, ids)
    fisher = fisher_information(policy, [(row.tolist(), 4) for row in ids], tiny_base.tokenizer.pad_token_id, batch=4)
    for name, value in gradients.items():
        found = fisher[name[name.index("base_model.") :]]
        torch.testing.assert_close(found, value.square().mean(0), rtol=1e-3, atol=1e-6)


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


class _Trunk(nn.Module):
    """Logits W times a one-hot of the last token, where a trunk would give hidden states."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.lora_B = nn.ModuleDict({"default": nn.Linear(tokens, tokens, bias=False)})
        self.tokens = tokens

    def forward(self, input_ids: torch.Tensor, **_: object) -> BaseModelOutputWithPast:
        states = nn.functional.one_hot(input_ids, self.tokens).float()
        return BaseModelOutputWithPast(last_hidden_state=self.lora_B["default"](states))


class _Softmax(PreTrainedModel):
    """Softmax regression: a head that changes nothing."""

    base_model_prefix = "trunk"

    def __init__(self, tokens: int) -> None:
        super().__init__(LlamaConfig(vocab_size=tokens))
        self.trunk = _Trunk(tokens)

    def forward(self, **kwargs: object) -> CausalLMOutput:
        return CausalLMOutput(logits=self.trunk(**kwargs).last_hidden_state)


class _Adapted(nn.Module):
    """It in an adapter's clothes."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.base_model = _Softmax(tokens)

    def get_base_model(self) -> _Softmax:
        return self.base_model


def test_fisher_of_softmax_regression_has_its_closed_form() -> None:
    tokens = 5
    model = _Adapted(tokens)
    chance = model.base_model.trunk.lora_B["default"].weight.detach().softmax(0)  # column x: p(y | x)
    draws = torch.Generator().manual_seed(0)
    rows = [
        ([x, int(y)], 1) for x in range(tokens) for y in torch.multinomial(chance[:, x], 4000, True, generator=draws)
    ]
    fisher = fisher_information(model, rows, 0, batch=1000)["base_model.trunk.lora_B.default.weight"]
    # E[(1[y = k] - p_k)^2] = p_k (1 - p_k), and each x is one of `tokens` equally frequent ones.
    torch.testing.assert_close(fisher, chance * (1 - chance) / tokens, rtol=0.08, atol=2e-3)


def test_products_are_what_peft_adds_to_the_weights(policy: PeftModel) -> None:
    for name, pair in adapter_pairs(policy).items():
        torch.testing.assert_close(adapter_state(policy, "product")[name], pair.module.get_delta_weight("default"))


@pytest.mark.parametrize("space", ["matrices", "product"])
def test_a_term_a_version_is_kept_as_one_quadratic(policy: PeftModel, space: Space) -> None:
    def random_anchor(seed: int) -> Anchor:
        generator = torch.Generator().manual_seed(seed)
        state = {name: value.detach() for name, value in adapter_state(policy, space).items()}
        fisher = {name: torch.rand(value.shape, generator=generator) for name, value in state.items()}
        centre = {name: value + torch.rand(value.shape, generator=generator) for name, value in state.items()}
        fisher[next(iter(fisher))][0] = 0.0  # nothing is known there
        return Anchor(fisher, centre, space)

    terms = [random_anchor(seed) for seed in (1, 2, 3)]
    kept = terms[2].merged(terms[1].merged(terms[0], 0.9, "separate"), 0.9, "separate")

    def constant() -> float:
        return sum(term.penalty(policy, 1.0).item() for term in terms) - kept.penalty(policy, 1.0).item()

    first = constant()
    assert first > 1.0
    with torch.no_grad():
        for parameter in adapter_parameters(policy).values():
            parameter.mul_(-2.0)
    assert constant() == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize("space", ["matrices", "product"])
def test_an_older_anchor_counts_less_and_the_centre_is_the_new_one(
    policy: PeftModel, tmp_path: Path, space: Space
) -> None:
    names = adapter_state(policy, space)
    new = anchor_here(policy, {name: torch.full_like(p, 1.0) for name, p in names.items()}, space)
    two, nought = ({name: torch.full_like(p, value) for name, p in names.items()} for value in (2.0, 0.0))
    merged = new.merged(Anchor(two, nought, space), decay=0.5)
    merged.save(tmp_path / "anchor.safetensors")
    loaded = load_anchor(tmp_path / "anchor.safetensors")
    assert loaded.space == space
    for name, value in names.items():
        assert torch.equal(loaded.fisher[name], torch.full_like(value, 2.0))
        assert torch.equal(loaded.centre[name], value)


def test_an_adapter_on_the_output_head_is_refused(tiny_base: Base) -> None:
    model = get_peft_model(twin(tiny_base.model), LoraConfig(r=2, target_modules=["lm_head"]))
    with pytest.raises(Problem, match="output head"):
        fisher_information(model, [([7, 8, 9], 1)], 0, batch=1)
