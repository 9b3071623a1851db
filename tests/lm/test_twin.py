"""A module tree of one's own: the base's storage, the base's answers, and a check that it fits the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import AutoModelForCausalLM, BloomConfig

from lm.engine import Engine
from lm.loading import Base
from lm.twin import pick_positions, twin
from problems import Problem


def test_models_that_cannot_run_in_slots_are_refused(tiny_base: Base) -> None:
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(Problem, match="Bloom"):
        Engine(
            Base(
                id="small",
                fingerprint="0" * 16,
                model=model.eval().requires_grad_(False),
                tokenizer=tiny_base.tokenizer,
                context=256,
            )
        )


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
