"""A second module tree over the same weights, so that its owner can change modules while others use the base."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from problems import Problem


class PickingHead(nn.Module):
    """An output head that computes logits at one position a row, in place of all of a prompt's."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.positions: Tensor | None = None  # [rows], for the coming forward; None where each row has one token

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: [rows, tokens, width]; returns [rows, 1, vocabulary]."""
        if self.positions is not None:
            hidden = hidden[torch.arange(hidden.shape[0], device=hidden.device), self.positions].unsqueeze(1)
        return cast(Tensor, self.inner(hidden))


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of `model`'s modules that shares every parameter and buffer, in evaluation mode.

    Raises:
        Problem: the model carries adapters already (they would be shared as well).
    """
    if any(hasattr(module, "base_layer") for module in model.modules()):
        raise Problem(
            "The base model already carries adapters inside.", hint="Make the engine before training wraps the model."
        )
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, memo=dict(shared)).eval()


def pick_positions(model: PreTrainedModel) -> PickingHead:
    """Put a picking head before `model`'s own, and return it. Raises Problem if the model has no output head."""
    inner = model.get_output_embeddings()
    if inner is None:
        raise Problem("The base model has no output head.", hint="Give a causal language model.")
    head = PickingHead(inner)
    model.set_output_embeddings(head)
    return head
