"""A second module tree over the same weights, so that its owner can change modules while others use the base."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from problems import Problem

Forward = Callable[[int, Tensor, list[int], list[int] | None], Tensor]


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


def check_twin(model: PreTrainedModel, forward: Forward) -> None:
    """Raise Problem unless `forward`, through slots and side by side, computes what the model does on its own."""
    vocabulary = model.config.get_text_config().vocab_size
    long, short = [[(step * k) % vocabulary for k in range(3, 3 + length)] for step, length in ((1, 6), (2, 4))]
    device = model.device
    expected = [
        model(torch.tensor([ids[:cut]], device=device), use_cache=False).logits[0, -1].float()
        for cut_back in (1, 0)
        for ids in (long, short)
        for cut in (len(ids) - cut_back,)
    ]
    try:
        read = torch.tensor([long[:-1], [*short[:-1], 0, 0]], device=device)
        last = torch.tensor([long[-1:], short[-1:]], device=device)
        found = [*forward(0, read, [0, 0], [4, 2]), *forward(0, last, [5, 3], None)]
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, NotImplementedError) as error:
        raise _unfit(model) from error
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    for ours, theirs in zip(found, expected, strict=True):
        if float((ours - theirs).abs().max()) > tolerance * max(1.0, float(theirs.abs().max())):
            raise _unfit(model)


def _unfit(model: PreTrainedModel) -> Problem:
    return Problem(
        f"Models of the kind {type(model).__name__} cannot run side by side in slots.",
        hint="Give a decoder such as Llama, Qwen, Mistral, Gemma or GPT-2.",
    )
