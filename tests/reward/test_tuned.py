"""A trunk tuned to judge: what it shares, what it keeps, and that stock transformers reads the same reward."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
)

from lm.loading import Base
from problems import Problem
from reward.features import encode_pair
from reward.tuned import TunedTrunk, adapted, load_tuned, pad_token

PROMPTS = [[{"role": "user", "content": text}] for text in ("Where is my parcel?", "Two plus three?", "Good morning!")]
ANSWERS = ["It left on Monday and arrives on Thursday.", "five", "Good morning! How may I help you today? " * 4]
SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
FAMILIES: dict[str, PreTrainedConfig] = {
    "qwen3": Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=True),
    "gemma3": Gemma3TextConfig(**SHAPE, head_dim=8, query_pre_attn_scalar=8),
    "phi3": Phi3Config(**SHAPE),
    "gpt2": GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=512, pad_token_id=0, eos_token_id=1),
}


def random_trunk(base: Base) -> TunedTrunk:
    """A trunk whose adapter and score are random and large enough to matter."""
    config = LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=8.0, target_modules="all-linear", modules_to_save=["score"]
    )
    model = adapted(base, config, seed=0)
    generator = torch.Generator().manual_seed(3)
    for name, each in model.named_parameters():
        if "lora_" in name:
            each.data.copy_(torch.randn(each.shape, generator=generator) * 0.2)
    width = int(base.model.config.get_text_config().hidden_size)
    return TunedTrunk(base, model.eval().requires_grad_(False), torch.randn(width, generator=generator), 256)


def rewards(trunk: TunedTrunk) -> Tensor:
    return trunk.features(PROMPTS, ANSWERS)[0] @ trunk.score_weight


def stock_rewards(folder: Path, base: Base, context: int) -> Tensor:
    """The logits of stock transformers for the same tokens, padded by the folder's own tokenizer."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [encode_pair(base, prompt, answer, context)[0] for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    with torch.no_grad():
        logits: Tensor = model(**tokenizer.pad({"input_ids": ids}, return_tensors="pt")).logits
    return logits[:, 0]


def test_stock_transformers_reads_the_same_reward(tiny_base: Base, tmp_path: Path) -> None:
    trunk = random_trunk(tiny_base)
    trunk.save(tmp_path, trunk.score_weight)
    found = rewards(trunk)
    assert float(found.std()) > 0.1
    torch.testing.assert_close(stock_rewards(tmp_path, tiny_base, trunk.context), found, rtol=0, atol=1e-5)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_do_too(family: str, tiny_base: Base, tiny_folder: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval().requires_grad_(False)
    base = replace(tiny_base, model=model)
    trunk = random_trunk(base)
    trunk.save(tmp_path / "trunk", trunk.score_weight)
    torch.testing.assert_close(stock_rewards(tmp_path / "trunk", base, 256), rewards(trunk), rtol=0, atol=1e-5)
    torch.testing.assert_close(rewards(load_tuned(tmp_path / "trunk", base)), rewards(trunk), rtol=0, atol=1e-6)


def test_the_score_that_is_saved_is_the_one_that_was_given(tiny_base: Base, tmp_path: Path) -> None:
    trunk = random_trunk(tiny_base)
    trunk.save(tmp_path, 2 * trunk.score_weight)
    torch.testing.assert_close(stock_rewards(tmp_path, tiny_base, trunk.context), 2 * rewards(trunk))


def test_batching_and_padding_change_nothing(tiny_base: Base) -> None:
    trunk, seen = random_trunk(tiny_base), []
    together, tokens = trunk.features(PROMPTS, ANSWERS, seen.append)
    alone, _ = trunk.features(PROMPTS, ANSWERS, batch_tokens=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert seen == [3]
    assert tokens.tolist() == [len(tiny_base.tokenizer(text)["input_ids"]) + 1 for text in ANSWERS]
    assert trunk.features([], [])[0].shape == (0, 32)


def test_a_fresh_adapter_changes_nothing_and_shares_every_weight(tiny_base: Base) -> None:
    model = adapted(tiny_base, LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear"), seed=0)
    trunk = TunedTrunk(tiny_base, model, torch.zeros(32), 256)
    ids, _ = encode_pair(tiny_base, PROMPTS[0], ANSWERS[0], 256)
    with torch.no_grad():
        states = tiny_base.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state
    torch.testing.assert_close(trunk.features(PROMPTS[:1], ANSWERS[:1])[0][0], states[0, -1])
    own = {name for name, each in model.named_parameters() if each.requires_grad}
    base = {each.data_ptr() for each in tiny_base.model.parameters()}
    held = {name for name, each in model.named_parameters() if each.data_ptr() not in base}
    assert {name for name in held if "original_module" not in name} == own
    assert not any("lora" in name for name, _ in tiny_base.model.named_parameters())


def test_it_is_read_back_whole(tiny_base: Base, tmp_path: Path) -> None:
    trunk = random_trunk(tiny_base)
    trunk.save(tmp_path, trunk.score_weight)
    again = load_tuned(tmp_path, tiny_base)
    assert torch.equal(rewards(again), rewards(trunk))
    assert again.context == trunk.context
    assert not any(each.requires_grad for each in again.model.parameters())


def test_what_belongs_to_another_base_is_refused(tiny_base: Base, tmp_path: Path) -> None:
    trunk = random_trunk(tiny_base)
    trunk.save(tmp_path, trunk.score_weight)
    with pytest.raises(Problem, match="was made for"):
        load_tuned(tmp_path, replace(tiny_base, fingerprint="0" * 16))


def _cut(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes()[:-100])


def _without_a_matrix(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, folder / "adapter_model.safetensors")


def _not_a_number(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, folder / "adapter_model.safetensors")


def _another_rank(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 5}))


def _gone(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize("damage", [_cut, _without_a_matrix, _not_a_number, _another_rank, _gone])
def test_what_is_damaged_is_refused(damage: Callable[[Path], None], tiny_base: Base, tmp_path: Path) -> None:
    trunk = random_trunk(tiny_base)
    trunk.save(tmp_path, trunk.score_weight)
    damage(tmp_path)
    with pytest.raises(Problem, match="damaged"):
        load_tuned(tmp_path, tiny_base)


def test_a_family_without_a_plain_score_is_refused(tiny_base: Base) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=1)).eval()
    with pytest.raises(Problem, match="Mamba"):
        adapted(replace(tiny_base, model=model), LoraConfig(task_type="SEQ_CLS"), seed=0)


def test_the_end_token_is_never_padding(load_tiny: Callable[[], Base]) -> None:
    tokenizer = load_tiny().tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.decode([pad_token(tokenizer)]) == "<|pad|>"
