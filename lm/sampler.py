"""Draw one token for each row of a batch, every row by its own parameters.

A row's token is the inverse of its cumulative distribution at one uniform number of its own, so that what a row draws
depends on its logits and its own random numbers, never on who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lm.settings import Sampling

LIKELIEST = 64  # tokens sorted first for top-p; nearly always enough
WIDER = 8  # how many times more where they were not


class SamplingPlan:
    """The parameters of a batch's rows, made once for as long as the same rows stay together."""

    def __init__(self, rows: Sequence[Sampling], device: torch.device) -> None:
        greedy = [row.temperature == 0 for row in rows]
        cut = [not cold and (row.top_k > 0 or row.top_p < 1) for row, cold in zip(rows, greedy, strict=True)]

        def where(wanted: list[bool]) -> Tensor | None:
            """Indices of the wanted rows; an empty tensor for none, None for all."""
            if all(wanted):
                return None
            return torch.tensor([i for i, want in enumerate(wanted) if want], device=device, dtype=torch.long)

        self.greedy, self.cut = where(greedy), where(cut)
        self.whole = where([not cold and not part for cold, part in zip(greedy, cut, strict=True)])
        temperatures = [1.0 if cold else row.temperature for row, cold in zip(rows, greedy, strict=True)]
        self.temperature: Tensor | None = None
        if any(temperature != 1 for temperature in temperatures):
            self.temperature = torch.tensor(temperatures, device=device)[:, None]
        cutting = [row for row, part in zip(rows, cut, strict=True) if part]
        self.top_k = torch.tensor([row.top_k for row in cutting], device=device, dtype=torch.long)[:, None]
        self.top_p = torch.tensor([row.top_p for row in cutting], device=device)[:, None]
        self.width = max([row.top_k or LIKELIEST for row in cutting], default=0)


def draw(logits: Tensor, plan: SamplingPlan, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a token a row.

    Args:
        logits: [rows, vocabulary], float32, as the model gave them.
        uniforms: [rows], each in [0, 1).

    Returns:
        tokens [rows]; their log-probabilities under the model, log softmax(logits), [rows]; and under its distribution
        at the row's temperature before top-k and top-p, log softmax(logits / temperature), [rows] (equal to the former
        at temperature 0).
    """
    total = logits.logsumexp(-1)
    scaled, scaled_total = logits, total
    if plan.temperature is not None:
        scaled = logits / plan.temperature
        scaled_total = scaled.logsumexp(-1)

    if plan.greedy is None:
        tokens = logits.argmax(-1)
    elif plan.whole is None:
        tokens = _invert((scaled - scaled_total[:, None]).exp_(), uniforms)
    elif plan.cut is None:
        tokens = _draw_cut(scaled, scaled_total, plan.top_k, plan.top_p, uniforms, plan.width)
    else:
        tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
        if len(rows := plan.greedy):
            tokens[rows] = logits[rows].argmax(-1)
        if len(rows := plan.whole):
            tokens[rows] = _invert((scaled[rows] - scaled_total[rows, None]).exp_(), uniforms[rows])
        if len(rows := plan.cut):
            tokens[rows] = _draw_cut(
                scaled[rows], scaled_total[rows], plan.top_k, plan.top_p, uniforms[rows], plan.width
            )

    logprobs = logits.gather(1, tokens[:, None])[:, 0] - total
    if plan.temperature is None:
        return tokens, logprobs, logprobs
    return tokens, logprobs, scaled.gather(1, tokens[:, None])[:, 0] - scaled_total


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """First index a row where the cumulative sum of `weights` [rows, n] passes its share `uniforms` of the whole."""
    sums = weights.cumsum_(-1)
    whole = sums[:, -1:]
    # Rounding may lift the threshold to the whole, which no sum passes; the last weight above zero is meant then.
    threshold = torch.minimum(uniforms[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    # Past the end only where the weights are NaN, which the caller sees in the log-probability.
    return torch.searchsorted(sums, threshold, right=True)[:, 0].clamp_max_(weights.shape[1] - 1)


def _draw_cut(scaled: Tensor, total: Tensor, top_k: Tensor, top_p: Tensor, uniforms: Tensor, width: int) -> Tensor:
    """Draw after top-k, then top-p over what top-k left (Holtzman et al. 2019, arXiv:1904.09751).

    Only the `width` likeliest tokens are sorted; rows whose top-p reaches further go again with more, so the result is
    that of a full sort.
    """
    width = min(width, scaled.shape[1])
    values, order = scaled.topk(width, dim=-1)
    weights = (values - total[:, None]).exp_()
    rank = torch.arange(width, device=scaled.device)
    limited = top_k > 0
    weights = weights.masked_fill_(limited & (rank >= top_k), 0)
    sums = weights.cumsum(-1)
    # Before top-p cuts, a row limited by top-k weighs what is left of it; any other weighs 1, seen here or not.
    share = torch.where(limited, sums[:, -1:], torch.ones_like(sums[:, -1:])) * top_p
    kept = weights.masked_fill(sums - weights >= share, 0)
    kept[:, 0] = weights[:, 0]
    tokens = order.gather(1, _invert(kept, uniforms)[:, None])[:, 0]
    if width < scaled.shape[1]:
        short = (~limited[:, 0]) & (sums[:, -1] < share[:, 0])
        rows = short.nonzero()[:, 0]
        if len(rows):
            tokens[rows] = _draw_cut(scaled[rows], total[rows], top_k[rows], top_p[rows], uniforms[rows], width * WIDER)
    return tokens
