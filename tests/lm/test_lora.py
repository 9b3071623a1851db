"""Adapters side by side against weights with each adapter added in."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lm.adapters import Adapter, dimensions
from lm.lora import AdapterBank
from problems import Problem

LLAMA = LlamaConfig(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    initializer_range=0.2,
)
GPT2 = GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
IDS = torch.tensor([[3, 9, 27, 17], [1, 2, 3, 4], [60, 50, 40, 30], [5, 5, 5, 5]])
PATHS = {
    "llama": ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.gate_proj", "model.layers.1.self_attn.o_proj"),
    "gpt2": ("transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_proj", "transformer.h.1.attn.c_proj"),
}


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = LlamaForCausalLM(LLAMA) if request.param == "llama" else GPT2LMHeadModel(GPT2)
    return cast(PreTrainedModel, made.eval().requires_grad_(False))


def paths(model: nn.Module) -> tuple[str, ...]:
    return PATHS["llama" if isinstance(model, LlamaForCausalLM) else "gpt2"]


def adapter(model: nn.Module, rank: int, which: tuple[str, ...], seed: int) -> Adapter:
    draws = torch.Generator().manual_seed(seed)
    weights = {}
    for path in which:
        size = dimensions(model.get_submodule(path))
        assert size is not None
        a = torch.randn(rank, size[0], generator=draws) * 0.5
        weights[path] = a, torch.randn(size[1], rank, generator=draws) * 0.5
    return Adapter(rank, 3.0, weights)


def merged(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    copied = copy.deepcopy(model)
    for path, (a, b) in adapter.weights.items():
        change = adapter.alpha / adapter.rank * b @ a
        flipped = isinstance(copied.get_submodule(path), Conv1D)
        copied.get_parameter(f"{path}.weight").data += change.T if flipped else change
    return copied


def logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return cast(Tensor, model(ids, use_cache=False).logits)


def test_each_row_its_own(model: PreTrainedModel) -> None:
    one, two = adapter(model, 2, paths(model)[:2], seed=1), adapter(model, 3, paths(model)[1:], seed=2)
    expected = [logits(merged(model, one), IDS), logits(merged(model, two), IDS), logits(model, IDS)]
    bank = AdapterBank(model)
    first, second, bare = bank.prepare("1", one), bank.prepare("2", two), bank.prepare("0", None)
    for rows in ([0, 2, 1, 0], [1, 1, 1, 1], [2, 2, 0, 2], [2, 2, 2, 2], [0, 1, 0, 1], [0, 0, 0, 0]):
        bank.activate([(first, second, bare)[kind] for kind in rows])
        bank.select(0, 4)
        wanted = torch.stack([expected[kind][row] for row, kind in enumerate(rows)])
        torch.testing.assert_close(logits(model, IDS), wanted, rtol=1e-4, atol=1e-4)
    bank.activate([first, bare, second, second])
    for begin, end in ((0, 1), (1, 2), (1, 4)):
        bank.select(begin, end)
        wanted = torch.stack([expected[(0, 2, 1, 1)[row]][row] for row in range(begin, end)])
        torch.testing.assert_close(logits(model, IDS[begin:end]), wanted, rtol=1e-4, atol=1e-4)


def test_an_adapter_that_overflows_stays_in_its_own_rows(model: PreTrainedModel) -> None:
    huge = adapter(model, 2, paths(model)[:1], seed=1)
    for a, b in huge.weights.values():
        a.mul_(1e38)
        b.fill_(1.0)
    expected = logits(model, IDS)
    bank = AdapterBank(model)
    bank.activate([bank.prepare("1", huge), *[bank.prepare("0", None)] * 3])
    bank.select(0, 4)
    found = logits(model, IDS)
    assert not found[0].isfinite().all()
    torch.testing.assert_close(found[1:], expected[1:])


def test_numbers_too_large_for_the_model_are_refused(model: PreTrainedModel) -> None:
    huge = adapter(model, 1, paths(model)[:1], seed=1)
    for _, b in huge.weights.values():
        b.fill_(3e38)
    with pytest.raises(Problem, match="too large"):
        AdapterBank(model).prepare("1", huge)
