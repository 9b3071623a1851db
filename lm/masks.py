"""What each layer sees of a slot: all earlier tokens, or the last few where attention slides over a window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from lm.twin import twin
from problems import Problem

FULL, SLIDING = "full_attention", "sliding_attention"
UNLIMITED = 1 << 30
NARROW = 3  # a window that a handful of tokens overflows


@dataclass(frozen=True)
class Masks:
    """Makes a forward's attention masks: one for all layers, or one for each kind where a model mixes kinds."""

    window: int | None = None  # tokens that a sliding layer sees, the newest included; None where none slides
    mixed: bool = False

    def make(self, positions: Tensor, longest: int, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """Additive masks [rows, 1, tokens, longest]: 0 where a token sees, minus infinity where it does not.

        Additive in place of boolean: attention on a CPU would convert a boolean one again in every layer.

        Args:
            positions: [rows, tokens], each token's place in its slot.
            longest: how many places of each slot attention is given.
        """
        places = torch.arange(longest, device=positions.device)
        hidden = places > positions[:, :, None]
        full = _additive(hidden, dtype)
        if self.window is None:
            return full
        sliding = full
        if longest > self.window:
            sliding = _additive(hidden | (places <= positions[:, :, None] - self.window), dtype)
        return {FULL: full, SLIDING: sliding} if self.mixed else sliding

    def narrow(self) -> Masks:
        """The masks of `narrowed`."""
        return replace(self, window=self.window and NARROW)


def masks(model: PreTrainedModel) -> Masks:
    """The masks that `model` needs.

    A configuration may name a window that its model never looks at, so the model is asked whether narrowing it changes
    anything.

    Raises:
        Problem: some layers are no attention at all (their state does not fit in a slot).
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {FULL, SLIDING}:
        raise Problem(f"Models with layers of {', '.join(sorted(kinds))} cannot run.", hint="Give a plain transformer.")
    window = getattr(config, "sliding_window", None)
    if not window or kinds == {FULL} or not _slides(model):
        return Masks()
    return Masks(int(window), mixed=len(kinds) == 2)


def narrowed(model: PreTrainedModel) -> PreTrainedModel:
    """A twin of `model` whose windows, where it has any, are so narrow that a short text shows them."""
    copied = twin(model)
    if getattr(copied.config.get_text_config(), "sliding_window", None):
        copied.config.get_text_config().sliding_window = NARROW
    return copied


def steady_context(config: PretrainedConfig) -> int:
    """Longest context in which a token's numbers do not depend on how long the batch's other rows are.

    Two kinds of rotary positions change for the whole batch once one row passes the length of the model's first
    training: "dynamic" and "longrope" (Ding et al. 2024, arXiv:2402.13753; Phi-3's long editions). GPT-Neo builds its
    window into its modules, where no mask from outside reaches.
    """
    limit = UNLIMITED
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    nested = [part for part in parameters.values() if isinstance(part, dict)]
    for rope in nested or [parameters]:
        if rope.get("rope_type") in ("dynamic", "longrope"):
            first = rope.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            limit = min(limit, int(first or config.max_position_embeddings))
    if "local" in (getattr(config, "attention_layers", None) or ()):
        limit = min(limit, int(config.window_size))
    return limit


def _slides(model: PreTrainedModel) -> bool:
    tokens = torch.arange(2 * NARROW, device=model.device)[None] % model.config.get_text_config().vocab_size
    with torch.inference_mode():
        wide, narrow = (each(tokens, use_cache=False).logits for each in (model, narrowed(model)))
    return not torch.equal(wide, narrow)


def _additive(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return mask.masked_fill_(hidden, -torch.inf)[:, None]
