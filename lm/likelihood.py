"""Likelihood of given completions under a model, batched and padded on the right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lm.output_head import OutputHead, tiles

Completed = tuple[list[int], int]  # token ids of prompt and completion; where the completion starts

PASS = 512  # padding tokens that cost about as much as one more pass over a small model


@dataclass(frozen=True)
class Batch:
    """Padded sequences: which ones (their places among all), ids [B, T], attention mask [B, T], and `scored`
    [B, T - 1], true where logits predict a completion.
    """

    rows: list[int]
    ids: Tensor
    reads: Tensor
    scored: Tensor


def batches(
    sequences: Sequence[Completed], pad_id: int, size: int, device: torch.device, multiple: int = 1
) -> Iterator[Batch]:
    """Sequences in batches of similar length, the shortest first; `multiple` as in `batch_of`."""
    ordered = sorted(range(len(sequences)), key=lambda place: len(sequences[place][0]))
    for begin in range(0, len(ordered), size):
        yield batch_of(sequences, ordered[begin : begin + size], pad_id, device, multiple)


def batch_of(
    sequences: Sequence[Completed], places: list[int], pad_id: int, device: torch.device, multiple: int = 1
) -> Batch:
    """The sequences at `places`, in that order, padded to the longest of them and on to a multiple of `multiple`."""
    rows = [sequences[place] for place in places]
    longest = math.ceil(max(len(tokens) for tokens, _ in rows) / multiple) * multiple
    ids = torch.full((len(rows), longest), pad_id)
    reads = torch.zeros_like(ids)
    scored = torch.zeros(ids.shape, dtype=torch.bool)
    for i, (tokens, start) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        reads[i, : len(tokens)] = 1
        scored[i, start : len(tokens)] = True
    return Batch(places, ids.to(device), reads.to(device), scored[:, 1:].to(device))


def groups_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Places of rows, cut into groups of similar length that are cheap to run one after the other.

    Real answers are of ten tokens and of five hundred: padded to the longest, a batch of eight is mostly padding. The
    cut is the one with the fewest tokens, padding included, where each pass counts as `PASS` tokens more.
    """
    ordered = sorted(range(len(lengths)), key=lambda place: lengths[place])
    best: list[tuple[int, int]] = [(0, 0)]  # of the first n rows: the least cost, and where its last group begins
    for end in range(1, len(ordered) + 1):
        width = lengths[ordered[end - 1]]
        best.append(min((best[begin][0] + (end - begin) * width + PASS, begin) for begin in range(end)))
    groups, end = [], len(ordered)
    while end:
        groups.append(ordered[best[end][1] : end])
        end = best[end][1]
    return groups[::-1]


def log_likelihood(model: nn.Module, batch: Batch) -> Tensor:
    """Summed log-likelihood of each completion of a batch, [B]."""
    head = OutputHead(model)
    hidden = head.hidden_states(batch.ids, batch.reads)[batch.scored]
    logps = head.of_tokens(hidden, batch.ids[:, 1:][batch.scored])
    return logps.new_zeros(batch.scored.shape).masked_scatter(batch.scored, logps).sum(1)


@torch.inference_mode()
def mean_kl(
    policy: nn.Module, reference: nn.Module, sequences: Sequence[Completed], pad_id: int, size: int = 16
) -> float:
    """KL(policy || reference) in nats a completion, summed over the positions of the given completions.

    At each position the sum over the vocabulary is exact; only the path is a sample.
    """
    device = next(policy.parameters()).device
    ours, theirs = OutputHead(policy), OutputHead(reference)
    total = 0.0
    for batch in batches(sequences, pad_id, size, device):
        states = [head.hidden_states(batch.ids, batch.reads)[batch.scored] for head in (ours, theirs)]
        for mine, other in tiles(ours.vocabulary, *states):
            logp, logq = ours(mine), theirs(other)
            total += float((logp.exp() * (logp - logq)).sum())
    return total / len(sequences)
