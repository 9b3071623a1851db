"""Draw one token for each row of a batch, every row by its own parameters.

A row's token is the inverse of its cumulative distribution at one uniform number of its own, so that what a row draws
depends on its logits and its own random numbers, never on who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from lm.settings import Sampling

LIKELIEST = 64  # tokens sorted first for top-p and min-p; nearly always enough
WIDER = 8  # how many times more where they were not


class SamplingPlan:
    """The parameters of a batch's rows, made once for as long as the same rows stay together.

    Args:
        said: tokens of each row's prompt and answer so far; asked for only where a row has a repetition penalty.
        vocabulary: number of token ids.
    """

    def __init__(
        self,
        rows: Sequence[Sampling],
        device: torch.device,
        said: Callable[[int], Iterable[int]] = lambda row: (),
        vocabulary: int = 0,
    ) -> None:
        greedy = [row.temperature == 0 for row in rows]
        cut = [
            not cold and (row.top_k > 0 or row.top_p < 1 or row.min_p > 0)
            for row, cold in zip(rows, greedy, strict=True)
        ]

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
        self.min_p = torch.tensor([row.min_p for row in cutting], device=device)[:, None]
        self.width = max([row.top_k or LIKELIEST for row in cutting], default=0)
        self.told = max((row.top_logprobs for row in rows), default=0)
        self.penalised = [index for index, row in enumerate(rows) if row.repetition_penalty != 1]
        if self.penalised:
            self.penalty = torch.tensor([rows[index].repetition_penalty for index in self.penalised], device=device)
            self.said = torch.zeros(len(self.penalised), vocabulary, dtype=torch.bool, device=device)
            for place, index in enumerate(self.penalised):
                self.said[place, list(said(index))] = True


def draw(logits: Tensor, plan: SamplingPlan, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a token a row.

    Args:
        logits: [rows, vocabulary], float32, as the model gave them.
        uniforms: [rows], each in [0, 1).

    Returns:
        tokens [rows]; their log-probabilities under the model, log softmax(logits), [rows]; and under its distribution
        at the row's temperature before top-k, top-p and min-p, log softmax(logits / temperature), [rows] (equal to the
        former at temperature 0; a repetition penalty counts in it).
    """
    total = logits.logsumexp(-1)
    scaled, scaled_total = logits, total
    if plan.penalised:
        scaled = _penalised(logits, plan)
    warm = scaled
    if plan.temperature is not None:
        scaled = scaled / plan.temperature
    if scaled is not logits:
        scaled_total = scaled.logsumexp(-1)

    if plan.greedy is None:
        tokens = warm.argmax(-1)
    elif plan.whole is None:
        tokens = _invert((scaled - scaled_total[:, None]).exp_(), uniforms)
    elif plan.cut is None:
        tokens = _draw_cut(scaled, scaled_total, plan.top_k, plan.top_p, plan.min_p, uniforms, plan.width)
    else:
        tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
        if len(rows := plan.greedy):
            tokens[rows] = warm[rows].argmax(-1)
        if len(rows := plan.whole):
            tokens[rows] = _invert((scaled[rows] - scaled_total[rows, None]).exp_(), uniforms[rows])
        if len(rows := plan.cut):
            tokens[rows] = _draw_cut(
                scaled[rows], scaled_total[rows], plan.top_k, plan.top_p, plan.min_p, uniforms[rows], plan.width
            )

    if plan.penalised:
        plan.said[torch.arange(len(plan.penalised), device=logits.device), tokens[plan.penalised]] = True
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - total
    if scaled is logits:
        return tokens, logprobs, logprobs
    return tokens, logprobs, scaled.gather(1, tokens[:, None])[:, 0] - scaled_total


def likeliest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` likeliest tokens of each row of logits [rows, vocabulary], and their log-probabilities, both
    [rows, count], the likeliest first.
    """
    values, tokens = logits.topk(min(count, logits.shape[1]), dim=-1)
    return tokens, values - logits.logsumexp(-1, keepdim=True)


def _penalised(logits: Tensor, plan: SamplingPlan) -> Tensor:
    """Logits where what was said already is less probable: l / p above zero, l * p below (Keskar et al. 2019,
    arXiv:1909.05858, section 4.1, with the sign minded as other implementations do).
    """
    rows = logits[plan.penalised]
    penalty = plan.penalty[:, None]
    rows = torch.where(plan.said, torch.where(rows > 0, rows / penalty, rows * penalty), rows)
    changed = logits.clone()
    changed[plan.penalised] = rows
    return changed


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """First index a row where the cumulative sum of `weights` [rows, n] passes its share `uniforms` of the whole."""
    sums = weights.cumsum_(-1)
    whole = sums[:, -1:]
    # Rounding may lift the threshold to the whole, which no sum passes; the last weight above zero is meant then.
    threshold = torch.minimum(uniforms[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    # Past the end only where the weights are NaN, which the caller sees in the log-probability.
    return torch.searchsorted(sums, threshold, right=True)[:, 0].clamp_max_(weights.shape[1] - 1)


def _draw_cut(
    scaled: Tensor, total: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, uniforms: Tensor, width: int
) -> Tensor:
    """Draw after top-k, then top-p over what that left (Holtzman et al. 2019, arXiv:1904.09751), then min-p, which asks
    for a share of the likeliest token's probability (Nguyen et al. 2024, arXiv:2407.01082).

    Only the `width` likeliest tokens are sorted; rows whose cuts reach further go again with more, so the result is
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
    least = weights[:, :1] * min_p
    kept = weights.masked_fill((sums - weights >= share) | (weights < least), 0)
    kept[:, 0] = weights[:, 0]
    tokens = order.gather(1, _invert(kept, uniforms)[:, None])[:, 0]
    if width < scaled.shape[1]:
        reaches = (sums[:, -1] < share[:, 0]) & (weights[:, -1] >= least[:, 0])
        rows = (~limited[:, 0] & reaches).nonzero()[:, 0]
        if len(rows):
            tokens[rows] = _draw_cut(
                scaled[rows], total[rows], top_k[rows], top_p[rows], min_p[rows], uniforms[rows], width * WIDER
            )
    return tokens
