"""Engines for many answers that nobody waits for: rollouts, the anchor's answers, checks and the gate."""

from __future__ import annotations

import torch

from lm.loading import Base
from lm.settings import EngineSettings

SLOTS = (8, 64)  # answers that are written at the same time: so many at least, and at most
MEMORY = 2**31  # bytes of keys and values, at their fullest, that more slots than the least may take


def offline_settings(base: Base, context: int, answers: int) -> EngineSettings:
    """Settings of an engine that writes `answers` answers, as many at a time as its memory allows.

    Nothing that was read is kept for later.

    Args:
        context: tokens of the longest prompt and answer together; the model may hold fewer.
    """
    context = min(base.context, context)
    room = MEMORY // (context * token_bytes(base))
    # A processor makes kernels for narrow numbers anew for each number of rows, and the rows of a batch grow few.
    narrow = base.device.type == "cpu" and base.model.dtype != torch.float32
    slots = max(1, min(answers, max(SLOTS[0], min(SLOTS[1], room))))
    return EngineSettings(slots=slots, context=context, prefix_cache=0, few_widths=narrow)


def token_bytes(base: Base) -> int:
    """Bytes of a token's keys and values in all layers, in float32."""
    config = base.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * 4)
