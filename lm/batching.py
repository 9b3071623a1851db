"""Whether a model computes side by side, through the slots of a running batch, what it computes alone.

Knows tokens and probabilities, not requests. Two things can go wrong: a kind of model whose state does not fit in
slots, and a number format too coarse for it. Both show in the probabilities of the next token after text that the
tokenizer makes. Token ids picked by number would not do: some were never trained, and mean nothing in any format.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm.loading import Base
from problems import Problem

Forward = Callable[[int, Tensor, list[int], list[int] | None], Tensor]

TEXTS = ("To make tea, boil fresh water and pour it over the leaves.", "Good morning! How are you today?")
PROBED = 16  # tokens of a text that are read, at most
SAME = 1e-3  # share of draws that may come out otherwise in float32, where only the order of sums differs
CLOSE = 0.1  # the same in narrower formats; seen: .03 on SmolLM2-135M in bfloat16


class UnfitFormat(Problem):
    """The model's number format is too coarse for it: sampled answers would not be the model's own."""


def verify_batching(base: Base, model: PreTrainedModel, forward: Forward) -> None:
    """Raise unless `forward`, through slots and side by side, gives next tokens the probabilities that `model` gives.

    They are compared by total variation distance, half the sum of absolute differences: the share of draws of one
    token that come out otherwise.

    Args:
        base: whose tokenizer spells the texts.
        model: the base's, or its copy with narrow windows.
        forward: logits [rows, vocabulary] from (first slot, tokens [rows, width], tokens held by each slot, index of
            each row's last token or None); the slots hold `PROBED` tokens each.

    Raises:
        UnfitFormat: the probabilities are too far apart in a format narrower than float32.
        Problem: they are in float32, or the model's kind cannot be run so at all.
    """
    device = model.device
    long, short = (_spelled(base, text)[: PROBED - cut] for cut, text in enumerate(TEXTS))
    if len(short) > len(long):
        long, short = short, long
    expected = [
        model(torch.tensor([ids], device=device), use_cache=False).logits[0, -1].float()
        for ids in (long[:-1], short[:-1], long, short)
    ]
    padding = [0] * (len(long) - len(short))
    try:
        read = torch.tensor([long[:-1], short[:-1] + padding], device=device)
        last = torch.tensor([long[-1:], short[-1:]], device=device)
        found = [
            *forward(0, read, [0, 0], [len(long) - 2, len(short) - 2]),
            *forward(0, last, [len(long) - 1, len(short) - 1], None),
        ]
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, NotImplementedError) as error:
        raise _unfit_kind(model) from error
    distances = [
        float((ours.softmax(-1) - theirs.softmax(-1)).abs().sum()) / 2
        for ours, theirs in zip(found, expected, strict=True)
    ]
    distance = max(distances) if all(each == each for each in distances) else 1.0  # NaN: nothing can be drawn
    if model.dtype == torch.float32:
        if distance > SAME:
            raise _unfit_kind(model)
    elif distance > CLOSE:
        name = str(model.dtype).removeprefix("torch.")
        raise UnfitFormat(
            f"In {name} {distance:.0%} of this model's draws would not be its own (allowed: {CLOSE:.0%}).",
            hint="Set dtype to float32.",
        )


def _spelled(base: Base, text: str) -> list[int]:
    """Token ids of a text, as the tokenizer begins a text; three at least."""
    ids = list(base.tokenizer(text)["input_ids"])
    return ids if len(ids) > 2 else [*ids, *ids, *ids, 0, 0, 0]


def _unfit_kind(model: PreTrainedModel) -> Problem:
    return Problem(
        f"Models of the kind {type(model).__name__} cannot run side by side in slots.",
        hint="Give a decoder such as Llama, Qwen, Mistral, Gemma or GPT-2.",
    )
