"""Ratings as tensors: each distinct answer once, and for every kind of rating which answers it speaks of.

No kind is turned into another here; what a rating of each kind says of a reward stands in `reward.likelihoods`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from store.frozen import Frozen, Pair, Score, Tagged, Thumb

KINDS = ("pair", "correction", "thumb", "score", "tags")
FIRST, TIE, NEITHER = 1.0, 0.5, 0.0  # verdicts on a pair, whose better answer comes first

Row = Pair | Thumb | Score | Tagged


@dataclass(frozen=True)
class Ratings:
    """The N ratings of one kind.

    Attributes:
        first: [N] number of the rated answer; of a pair the better one, of a correction what the person wrote.
        second: [N] number of the other answer; where there is none, the first again.
        value: [N] pair: 1 first better, 0.5 tie, 0 neither; correction: 1; thumb: 1 up, 0 down; score: 1 to 10; [N, T]
            for tags, 1 where the tag was given.
        person, group: [N] numbers of the person and of the conversation.
        uniform: [N] whether the answers were put before the person without regard to what they might say.
    """

    first: Tensor
    second: Tensor
    value: Tensor
    person: Tensor
    group: Tensor
    uniform: Tensor

    def __len__(self) -> int:
        return len(self.first)

    def taken(self, rows: Tensor) -> Ratings:
        """The ratings with these numbers, or where this mask is true."""
        return Ratings(*(part[rows] for part in vars(self).values()))


@dataclass(frozen=True)
class Evidence:
    """Ratings of every kind over a shared table of answers.

    Attributes:
        prompts, texts: A distinct answers, each with the prompt that it answers.
        ratings: by kind; every kind is there, some may be empty.
        people, tag_names: names by number.
        groups: number of conversations; what shares one is drawn or held out together.
    """

    prompts: list[Sequence[dict[str, str]]]
    texts: list[str]
    ratings: Mapping[str, Ratings]
    people: list[str]
    tag_names: list[str]
    groups: int

    def __len__(self) -> int:
        return sum(len(each) for each in self.ratings.values())

    def rated(self) -> Tensor:
        """Numbers of the answers that a rating speaks of, in their order."""
        return torch.cat([side for each in self.ratings.values() for side in (each.first, each.second)]).unique()

    def taken(self, chosen: Mapping[str, Tensor]) -> Evidence:
        """The evidence with only the chosen ratings (numbers or masks by kind); the answers stay as they are."""
        some = {kind: each.taken(chosen[kind]) for kind, each in self.ratings.items()}
        return Evidence(self.prompts, self.texts, some, self.people, self.tag_names, self.groups)


def evidence_from(
    frozen: Frozen, split: str, *, people: Sequence[str] = (), tag_names: Sequence[str] | None = None
) -> Evidence:
    """The ratings of one split ("train" or "holdout") of a frozen dataset.

    Pairs that the dataset made of two thumbs are left out: the thumbs themselves are here.

    Args:
        people: those who keep the numbers that they have; others get numbers after them.
        tag_names: the tags to look for; by default those that occur.
    """
    pairs = [row for row in frozen.pairs if row.split == split and row.kind == "pair"]
    corrections = [row for row in frozen.pairs if row.split == split and row.kind == "correction"]
    thumbs = [row for row in frozen.thumbs if row.split == split]
    scores = [row for row in frozen.scores if row.split == split]
    tagged = [row for row in frozen.tags if row.split == split]
    rows: list[Row] = [*pairs, *corrections, *thumbs, *scores, *tagged]
    known = [*people, *sorted({row.person for row in rows} - set(people))]
    tags = sorted({tag for row in tagged for tag in row.tags}) if tag_names is None else list(tag_names)
    number = {name: i for i, name in enumerate(known)}
    talks = {name: i for i, name in enumerate(sorted({row.conversation for row in rows}))}
    answers = _Table()

    def ratings(kind: Sequence[Any], first: Callable[[Any], str], second: Callable[[Any], str], value: Any) -> Ratings:
        return Ratings(
            first=_numbers(answers.row(row.messages, first(row)) for row in kind),
            second=_numbers(answers.row(row.messages, second(row)) for row in kind),
            value=torch.tensor([value(row) for row in kind], dtype=torch.float32),
            person=_numbers(number[row.person] for row in kind),
            group=_numbers(talks[row.conversation] for row in kind),
            uniform=torch.tensor([getattr(row, "draw", "uniform") == "uniform" for row in kind], dtype=torch.bool),
        )

    def one(row: Thumb | Score | Tagged) -> str:
        return row.answer

    found = {
        "pair": ratings(pairs, lambda row: row.first, lambda row: row.second, lambda row: row.outcome),
        "correction": ratings(corrections, lambda row: row.first, lambda row: row.second, lambda row: FIRST),
        "thumb": ratings(thumbs, one, one, lambda row: float(row.liked)),
        "score": ratings(scores, one, one, lambda row: float(row.score)),
        "tags": ratings(tagged, one, one, lambda row: [float(tag in row.tags) for tag in tags]),
    }
    if not tagged:
        found["tags"] = Ratings(**{**vars(found["tags"]), "value": torch.zeros(0, len(tags))})
    return Evidence(answers.prompts, answers.texts, found, known, tags, len(talks))


def _numbers(values: Any) -> Tensor:
    return torch.tensor(list(values), dtype=torch.long)


class _Table:
    """Rows of distinct (prompt, answer) texts, numbered as they come."""

    def __init__(self) -> None:
        self.prompts: list[Sequence[dict[str, str]]] = []
        self.texts: list[str] = []
        self._rows: dict[bytes, int] = {}

    def row(self, messages: Sequence[dict[str, str]], text: str) -> int:
        key = hashlib.sha256(repr((messages, text)).encode("utf-8", "surrogatepass")).digest()
        if key not in self._rows:
            self._rows[key] = len(self.texts)
            self.prompts.append(messages)
            self.texts.append(text)
        return self._rows[key]
