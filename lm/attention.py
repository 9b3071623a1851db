"""Attention over keys and values kept in float32 where the processor attends to bfloat16 slowly.

One new token a row against hundreds of kept ones is bound by how fast keys and values are read and widened; torch's
kernel for bfloat16 on a CPU takes two to four times as long as the one for float32 (measured: NOTEBOOK.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

WIDE = "ratchet_wide"
INNER = "sdpa"


def widen(model: PreTrainedModel) -> torch.dtype | None:
    """Have `model` attend in float32 if that is quicker; returns the format that its cache should have, or None."""
    narrow = model.dtype in (torch.bfloat16, torch.float16)
    if model.device.type != "cpu" or not narrow or model.config._attn_implementation != INNER:
        return None
    ALL_ATTENTION_FUNCTIONS.register(WIDE, _wide_attention)
    model.set_attn_implementation(WIDE)
    return torch.float32


def _wide_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **rest: Any
) -> tuple[Tensor, Tensor | None]:
    """query [rows, heads, tokens, head dim] in the model's format, key and value in float32."""
    out, weights = ALL_ATTENTION_FUNCTIONS[INNER](module, query.to(key.dtype), key, value, attention_mask, **rest)
    return out.to(query.dtype), weights
