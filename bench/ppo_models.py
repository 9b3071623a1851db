"""Models to train in measurements: random from a seed, and able to learn and to answer at a fixed length.

A fresh Llama's logits lie so close together that a LoRA below its frozen head can hardly prefer a token; a head ten
times as large gives it preferences to move. One channel of the residual stream is constant, and the end and padding
tokens' rows of the head hang on it with a large negative weight: no answer ever ends early, so that both trainers
compute the same number of tokens without being told to do otherwise than they would.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

PAD, END, UNKNOWN = 0, 1, 2
TEMPLATE = "{% for message in messages %}{{ message['content'] + ' ' }}{% endfor %}"
SHAPES: dict[str, dict[str, Any]] = {
    # small enough for a smoke
    "tiny": {
        "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": False,
    },
    # 6.9M parameters
    "7m": {
        "model_type": "llama", "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 688,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
    # 91M parameters, wide and deep as GPT-2 small
    "90m": {
        "model_type": "llama", "vocab_size": 4096, "hidden_size": 768, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12, "tie_word_embeddings": False,
    },
    # Qwen2.5-0.5B, its head not tied so that it can be made as said above
    "0.5b": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": False,
    },
}  # fmt: skip


def make(shape: str, folder: Path) -> Path:
    """Write the model and a tokenizer of one word a token into `folder`."""
    config = SHAPES[shape]
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unknown>"}
    words = [*special.values(), *(f"w{number}" for number in range(len(special), config["vocab_size"]))]
    core = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=special["unk_token"]))
    core.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **special)
    tokenizer.chat_template = TEMPLATE
    tokenizer.model_max_length = 1024
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            **config, max_position_embeddings=1024, bos_token_id=None, eos_token_id=END, pad_token_id=PAD
        )
    )
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head *= 10
        model.get_input_embeddings().weight[:, 0] = 1.0
        head[:, 0] = 0.0
        head[[PAD, END], 0] = -10.0
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def prompts(shape: str, count: int, length: int) -> list[str]:
    """Texts of `length` random words each."""
    random = Random(0)
    words = range(UNKNOWN + 1, SHAPES[shape]["vocab_size"])
    return [" ".join(f"w{random.choice(words)}" for _ in range(length)) for _ in range(count)]
