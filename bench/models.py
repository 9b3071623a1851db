"""The models that are measured: the starter, and a larger one with random weights and the starter's tokenizer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lm.loading import STARTER


@dataclass(frozen=True)
class Model:
    """What to load, and in what number format."""

    folder: Path
    dtype: str
    new_tokens: int  # an answer in a measurement


NAMES = ("starter", "90m", "90m-bf16")


def make(name: str, room: Path) -> Model:
    """The model called `name`; a folder for it is made in `room` where it needs one."""
    if name == "starter":
        return Model(STARTER, "float32", 96)
    folder = room / "90m"
    if not folder.exists():
        large(folder)
    return Model(folder, "bfloat16" if name == "90m-bf16" else "float32", 48)


def large(folder: Path) -> None:
    """Write a Llama of about 90M parameters, random from a seed."""
    shutil.copytree(STARTER, folder, ignore=shutil.ignore_patterns("*.safetensors", "stages.json", "README.md"))
    torch.manual_seed(0)
    starter = LlamaConfig.from_pretrained(STARTER)
    config = LlamaConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=64,
        intermediate_size=2176,
        vocab_size=starter.vocab_size,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=starter.eos_token_id,
        pad_token_id=starter.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def endless(folder: Path, copy: Path) -> Path:
    """A copy of a model that has no end token and is greedy, for a server that cannot be told so by a request."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    generation = {"do_sample": False, "pad_token_id": config["pad_token_id"]}
    (copy / "generation_config.json").write_text(json.dumps(generation))
    return copy
