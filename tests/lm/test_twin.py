"""A module tree of one's own: the base's storage, the base's answers, and a check that it fits the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, Gemma3TextConfig, GPT2Config, MistralConfig, Qwen3Config
from transformers import PretrainedConfig as Config

from lm.engine import Engine
from lm.loading import Base
from lm.settings import EngineSettings, Sampling
from lm.twin import pick_positions, twin, unwindowed
from problems import Problem

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "eos_token_id": 1,
}
LLAMA_LIKE: dict[str, Any] = SMALL | {
    "intermediate_size": 64,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
}


def small(config: Config, tiny_base: Base) -> Base:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return Base(id="small", fingerprint="0" * 16, model=model, tokenizer=tiny_base.tokenizer, context=256)


@pytest.mark.parametrize(
    "config",
    [
        Qwen3Config(**LLAMA_LIKE),
        MistralConfig(**LLAMA_LIKE, sliding_window=40),
        Gemma3TextConfig(**LLAMA_LIKE, sliding_window=40),
        GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=256, eos_token_id=1, bos_token_id=1),
    ],
    ids=lambda config: type(config).__name__,
)
def test_other_kinds_of_models_answer_as_on_their_own(tiny_base: Base, config: Config) -> None:
    base = small(config, tiny_base)
    engine = Engine(base, EngineSettings(slots=3))
    prompts = [[9, 8, 7], list(range(20, 40)), [5]]
    completions = engine.generate(prompts, Sampling(temperature=0, max_tokens=8, ignore_eos=True))
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = list(prompt)
        for token in completion.token_ids:
            assert token == int(base.model(torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(token)


def test_models_that_cannot_run_in_slots_are_refused(tiny_base: Base) -> None:
    base = small(BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=4), tiny_base)
    with pytest.raises(Problem, match="Bloom"):
        Engine(base)


def test_a_sliding_window_caps_the_context() -> None:
    assert unwindowed(MistralConfig(sliding_window=40)) == 40
    assert unwindowed(MistralConfig(sliding_window=None)) > 1_000_000
    assert unwindowed(Qwen3Config(**LLAMA_LIKE)) > 1_000_000


def test_layers_without_attention_are_refused() -> None:
    config = Qwen3Config(**LLAMA_LIKE)
    config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(Problem, match="linear_attention"):
        unwindowed(config)


def test_storage_is_shared_and_the_base_untouched(tiny_base: Base) -> None:
    before = {name: type(module) for name, module in tiny_base.model.named_modules()}
    copied = twin(tiny_base.model)
    head = pick_positions(copied)
    ours = {tensor.data_ptr() for tensor in [*copied.parameters(), *copied.buffers()]}
    assert ours == {tensor.data_ptr() for tensor in [*tiny_base.model.parameters(), *tiny_base.model.buffers()]}
    assert copied.get_output_embeddings() is head
    assert {name: type(module) for name, module in tiny_base.model.named_modules()} == before
    assert copied.get_submodule("model") is not tiny_base.model.get_submodule("model")


def test_a_base_that_carries_adapters_is_refused(load_tiny: Callable[[], Base]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    model = inject_adapter_in_model(LoraConfig(target_modules=["q_proj"]), load_tiny().model)
    with pytest.raises(Problem, match="carries adapters"):
        twin(model)
