"""Windows: which tokens a layer sees, which models slide, and where a context must end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoConfig, LlamaConfig, MistralConfig, Phi3Config, Qwen3Config
from transformers import PretrainedConfig as Config

from lm.engine import Engine
from lm.loading import Base
from lm.masks import FULL, SLIDING, UNLIMITED, Masks, masks, steady_context
from lm.settings import EngineSettings, Sampling
from problems import Problem

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def model(config: Config) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def seen(mask: Any) -> list[list[int]]:
    """Places that each token of a single row sees."""
    return [[place for place, value in enumerate(line) if value == 0] for line in mask[0, 0].tolist()]


def test_a_token_sees_itself_and_what_came_before() -> None:
    made = Masks().make(torch.tensor([[3, 4]]), 6, torch.float32)
    assert seen(made) == [[0, 1, 2, 3], [0, 1, 2, 3, 4]]


def test_a_window_counts_the_newest_token() -> None:
    made = Masks(window=2).make(torch.tensor([[0, 1, 2, 3]]), 4, torch.float32)
    assert seen(made) == [[0], [0, 1], [1, 2], [2, 3]]


def test_mixed_layers_get_a_mask_each() -> None:
    made = Masks(window=2, mixed=True).make(torch.tensor([[3]]), 4, torch.float32)
    assert isinstance(made, dict)
    assert {kind: seen(mask) for kind, mask in made.items()} == {FULL: [[0, 1, 2, 3]], SLIDING: [[2, 3]]}


def test_a_window_is_found_by_asking_the_model() -> None:
    assert masks(model(MistralConfig(**SMALL, sliding_window=40))) == Masks(40)
    assert masks(model(MistralConfig(**SMALL, sliding_window=None))) == Masks()
    assert masks(
        model(Qwen3Config(**SMALL, layer_types=[SLIDING, FULL], sliding_window=9, use_sliding_window=True))
    ) == (Masks(9, mixed=True))
    # Llama never looks at a window, whatever its configuration holds.
    assert masks(model(LlamaConfig(**SMALL, sliding_window=40))) == Masks()


def test_layers_without_attention_are_refused() -> None:
    made = model(Qwen3Config(**SMALL))
    made.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(Problem, match="linear_attention"):
        masks(made)


def test_the_base_keeps_its_window(tiny_base: Base) -> None:
    made = model(MistralConfig(**SMALL, sliding_window=40))
    Engine(Base(id="small", fingerprint="0" * 16, model=made, tokenizer=tiny_base.tokenizer, context=256))
    assert made.config.sliding_window == 40


def test_positions_that_stretch_for_a_whole_batch_end_the_context() -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    long = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0} | factors
    config = Phi3Config(**SMALL, max_position_embeddings=256, original_max_position_embeddings=64, rope_parameters=long)
    assert steady_context(config) == 64
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    assert steady_context(LlamaConfig(**SMALL, max_position_embeddings=128, rope_parameters=dynamic)) == 128
    assert steady_context(LlamaConfig(**SMALL)) == UNLIMITED


def test_a_window_inside_the_modules_ends_the_context(tiny_base: Base) -> None:
    config = GPTNeoConfig(
        vocab_size=320,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        window_size=16,
        attention_types=[[["global", "local"], 1]],
        bos_token_id=0,
        eos_token_id=1,
    )
    base = Base(id="small", fingerprint="0" * 16, model=model(config), tokenizer=tiny_base.tokenizer, context=256)
    engine = Engine(base, EngineSettings(slots=3))
    assert engine.context == 16
    prompts = [[9, 8, 7], list(range(20, 28))]
    for prompt, done in zip(prompts, engine.generate(prompts, Sampling(temperature=0, max_tokens=8)), strict=True):
        expected = base.model(torch.tensor([prompt + done.token_ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        found = expected.gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]
        assert torch.allclose(found, torch.tensor(done.logprobs), atol=1e-4)
