"""Ratings as tensors: each answer's features once, and which rows each rating speaks of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lm.loading import Base
from reward.features import trunk_features
from store.frozen import Frozen, Pair, Thumb


@dataclass(frozen=True)
class Evidence:
    """Pair verdicts and thumbs over a shared table of answers.

    Attributes:
        features: [A, D], one row an answer.
        first, second, outcome: [P] rows and verdict of each pair; outcome 1 first better, 0.5 tie.
        answer, liked, person: [T] row, verdict (1 up, 0 down) and person's number of each thumb.
        pair_group, thumb_group: [P], [T] number of the conversation; what shares a group is drawn or held out together.
        people: names by number.
    """

    features: Tensor
    first: Tensor
    second: Tensor
    outcome: Tensor
    answer: Tensor
    liked: Tensor
    person: Tensor
    pair_group: Tensor
    thumb_group: Tensor
    people: list[str]

    def __len__(self) -> int:
        return len(self.first) + len(self.answer)


def evidence_from(
    base: Base, frozen: Frozen, split: str, *, context: int, progress: Callable[[int], None] | None = None
) -> Evidence:
    """Features and ratings of one split ("train" or "holdout") of a frozen dataset."""
    pairs = [pair for pair in frozen.pairs if pair.split == split and pair.outcome]  # both bad: not learned from yet
    thumbs = [thumb for thumb in frozen.thumbs if thumb.split == split]
    answers = _Table()
    first = [answers.row(pair, pair.first) for pair in pairs]
    second = [answers.row(pair, pair.second) for pair in pairs]
    thumbed = [answers.row(thumb, thumb.answer) for thumb in thumbs]
    people = sorted({thumb.person for thumb in thumbs})
    conversations = {pair.conversation for pair in pairs} | {thumb.conversation for thumb in thumbs}
    groups = {name: i for i, name in enumerate(sorted(conversations))}
    return Evidence(
        features=trunk_features(base, answers.prompts, answers.texts, context=context, progress=progress),
        first=torch.tensor(first, dtype=torch.long),
        second=torch.tensor(second, dtype=torch.long),
        outcome=torch.tensor([pair.outcome for pair in pairs], dtype=torch.float32),
        answer=torch.tensor(thumbed, dtype=torch.long),
        liked=torch.tensor([float(thumb.liked) for thumb in thumbs], dtype=torch.float32),
        person=torch.tensor([people.index(thumb.person) for thumb in thumbs], dtype=torch.long),
        pair_group=torch.tensor([groups[pair.conversation] for pair in pairs], dtype=torch.long),
        thumb_group=torch.tensor([groups[thumb.conversation] for thumb in thumbs], dtype=torch.long),
        people=people,
    )


class _Table:
    """Rows of distinct (prompt, answer) texts, numbered as they come."""

    def __init__(self) -> None:
        self.prompts: list[Sequence[dict[str, str]]] = []
        self.texts: list[str] = []
        self._rows: dict[bytes, int] = {}

    def row(self, item: Pair | Thumb, text: str) -> int:
        key = hashlib.sha256(repr((item.messages, text)).encode("utf-8", "surrogatepass")).digest()
        if key not in self._rows:
            self._rows[key] = len(self.texts)
            self.prompts.append(item.messages)
            self.texts.append(text)
        return self._rows[key]
