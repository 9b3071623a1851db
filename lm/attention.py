"""Attention where the processor attends to bfloat16 slowly: in float32 when answering, by plain products when training.

One new token a row against hundreds of kept ones is bound by how fast keys and values are read and widened; torch's
kernel for bfloat16 on a CPU takes two to four times as long as the one for float32. In training its backward pass over
short rows takes several times as long as the few products that it saves (both measured: NOTEBOOK.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

WIDE = "ratchet_wide"
SHORT = "ratchet_short"
FEW = 192  # tokens of a row up to which all its scores are made and kept
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


def attend_shortly(model: PreTrainedModel) -> None:
    """Have `model` attend by plain products to rows of up to `FEW` tokens, if that is quicker in training."""
    if model.device.type != "cpu" or model.dtype != torch.bfloat16 or model.config._attn_implementation != INNER:
        return
    model.set_attn_implementation(SHORT)


def _short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **rest: Any,
) -> tuple[Tensor, Tensor | None]:
    """query [rows, heads, tokens, head dim], key and value with as many heads or fewer, mask added to the scores."""
    if key.shape[2] > FEW or attention_mask is None or dropout:
        inner = ALL_ATTENTION_FUNCTIONS[INNER]
        out, weights = inner(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest)
        return out, weights
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scale, key.transpose(2, 3)) + attention_mask
    return torch.matmul(scores.softmax(-1), value).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(SHORT, _short_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(SHORT, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
