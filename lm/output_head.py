"""From hidden states to log-probabilities, a few positions at a time.

Logits of a whole batch are what memory ends at: of 16 sequences of 512 tokens over a vocabulary of 152,000 they take 5
GB in float32, and a log-softmax, its exponential and a gradient as many again. Here no tensor of more than `TILE`
logits is made; those of one tile are let go of before the next, and computed again in a backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import ModelOutput

# Logits that are held at a time: 64 MB of float32. Each tile reads the head's matrix anew, so that it must hold many
# positions: 110 over a vocabulary of 152,000.
TILE = 2**24


def tiles(vocabulary: int, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of N rows each, cut alike, as many rows at a time as have `TILE` logits."""
    size = max(1, TILE // vocabulary)
    return zip(*(each.split(size) for each in rows), strict=True)


class OutputHead:
    """A causal language model's own way from hidden states to log-probabilities, float32 or better.

    The model's class goes it, so that whatever it puts after its head (scales, soft caps) is there. It runs in a shell
    that shares everything but the trunk, and none of the wrappers that a trainer put around `forward`. So is the
    trunk's: whoever reads it through hooks reads a training's own passes, not this.

    Args:
        model: a model of transformers, or PEFT's around one.
    """

    def __init__(self, model: nn.Module) -> None:
        inside = getattr(model, "get_base_model", None)
        base = cast(PreTrainedModel, inside() if inside else model)
        self.vocabulary = int(base.config.get_text_config().vocab_size)
        self.adapted = hasattr(base.get_output_embeddings(), "lora_A")
        self._trunk: nn.Module = base.base_model
        self._given = _Given()
        self._shell = copy.copy(base)
        self._shell.__dict__.pop("forward", None)
        self._shell._modules = {**base._modules, base.base_model_prefix: self._given}

    def hidden_states(self, ids: Tensor, reads: Tensor) -> Tensor:
        """Last hidden states [B, T - 1, width] that predict the next tokens of ids [B, T]."""
        output = self._trunk.forward(input_ids=ids, attention_mask=reads, use_cache=False)
        self._given.kind = type(output)
        states: Tensor = output.last_hidden_state
        return states[:, :-1]

    def __call__(self, hidden: Tensor) -> Tensor:
        """Log-probabilities [n, vocabulary] after the hidden states [n, width] of one tile."""
        self._given.hidden = hidden[None]
        logits: Tensor = self._shell(use_cache=False).logits[0]
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

    def of_tokens(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities [N] of tokens [N] after hidden states [N, width]."""
        found = []
        for states, chosen in tiles(self.vocabulary, hidden, tokens):
            if states.requires_grad and torch.is_grad_enabled():
                found.append(checkpoint(self._of, states, chosen, use_reentrant=False, preserve_rng_state=False))
            else:
                found.append(self._of(states, chosen))
        return torch.cat(found)

    def _of(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        return self(hidden).gather(-1, tokens[:, None]).squeeze(-1)


class _Given(nn.Module):
    """Stands where the trunk would, and answers with hidden states that are given, in what the trunk answers with."""

    hidden: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.kind: type[ModelOutput] = BaseModelOutputWithPast

    @property
    def decoder(self) -> nn.Module:
        """Some classes (OPT) ask a part of the trunk."""
        return self

    def forward(self, *_: Any, **__: Any) -> ModelOutput:
        return self.kind(last_hidden_state=self.hidden)
