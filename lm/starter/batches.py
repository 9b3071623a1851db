"""Batches of generated dialogues: bucketed by length, repeatable by seed, able to go on where they stopped."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lm.starter.skills import dialogues
from lm.starter.tokenizer import encode
from lm.starter.worlds import Split

_CHUNK = 2048  # dialogues that are sorted by length together
UNLEARNED = -100


@dataclass(frozen=True)
class Place:
    """Where the stream stands: batches before it have been seen."""

    chunk: int = 0
    batch: int = 0


def batches(
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    tokens: int,
    start: Place,
    *,
    split: Split = "train",
    rank: int = 0,
    processes: int = 1,
) -> Iterator[tuple[Tensor, Tensor, Place]]:
    """Endless batches from `start` on.

    Rows of a batch are of about the same length, which leaves 2 % of padding: packing several dialogues into a row
    would save no more, and would ask for a mask between them.

    Args:
        tokens: padded tokens a batch, at most (one longer dialogue makes a batch of its own).
        rank, processes: each of several processes gets chunks that no other gets.

    Yields:
        ids (batch, length) padded on the right; targets of the same shape, already shifted: the token that follows
        where the assistant says it, `UNLEARNED` elsewhere; and the place after this batch.
    """
    for chunk in itertools.count(start.chunk):
        made = _chunk(tokenizer, f"{seed}|{chunk * processes + rank}", tokens, split)
        first = start.batch if chunk == start.chunk else 0
        for index in range(first, len(made)):
            yield *_tensors(made[index], tokenizer.pad_token_id), Place(chunk, index + 1)


def _chunk(
    tokenizer: PreTrainedTokenizerFast, key: str, tokens: int, split: Split
) -> list[list[tuple[list[int], list[bool]]]]:
    rng = random.Random(key)
    made = itertools.islice(dialogues(split, rng.getrandbits(48)), _CHUNK)
    encoded = encode(tokenizer, [dialogue.messages for dialogue in made])
    rows = sorted(encoded, key=lambda row: len(row[0]))
    groups: list[list[tuple[list[int], list[bool]]]] = [[]]
    for row in rows:
        if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    return groups


def _tensors(rows: list[tuple[list[int], list[bool]]], pad: int) -> tuple[Tensor, Tensor]:
    length = max(len(ids) for ids, _ in rows) - 1
    ids = torch.full((len(rows), length), pad)
    targets = torch.full((len(rows), length), UNLEARNED)
    for index, (row, learned) in enumerate(rows):
        ids[index, : len(row) - 1] = torch.tensor(row[:-1])
        following = torch.where(torch.tensor(learned[1:]), torch.tensor(row[1:]), UNLEARNED)
        targets[index, : len(following)] = following
    return ids, targets
