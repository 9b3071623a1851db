"""Opinions and prompts on their way into a dataset: what each says as a row, and what has to be known beside it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from store.frozen import Pair, Prompt, Score, Split, Tagged, Thumb, line
from store.holdout import Sides, opening
from store.imported import SURFACE
from store.opinions import Opinion, asked
from store.scrub import Scrubber

TEXTS = ("first", "second", "answer")  # fields of the rows that hold an answer
OUTCOMES = {"left": 1.0, "right": 1.0, "tie": 0.5, "both_bad": 0.0}

RowOf = TypeVar("RowOf", Pair, Thumb, Score, Tagged, Prompt)


@dataclass(frozen=True)
class Candidate(Generic[RowOf]):
    """A row that may become part of a dataset.

    Attributes:
        row: as it would be frozen.
        opening: what its conversation was opened with, as it was said: the row itself may have been scrubbed.
        imported: whether an import brought it.
        order: by which rows are sorted.
    """

    row: RowOf
    opening: str
    imported: bool
    order: bytes = b""

    @property
    def person(self) -> str:
        """Whose it is."""
        return self.row.person

    @property
    def split(self) -> Split:
        """On which side of the holdout it is."""
        return self.row.split


def prompts_of(session: Session, sides: Sides, left_out: Counter[str]) -> list[Candidate[Any]]:
    """Every prompt, under whoever asked it first; on both sides, where a person who is held out asked it too."""
    found: dict[tuple[str, Split], Candidate[Any]] = {}
    seen: set[str] = set()
    for each in asked(session):
        key = line(each.messages)
        split = sides.of(each.conversation, each.messages, each.person)
        if split is None:
            left_out["straddling"] += key not in seen
        elif (key, split) not in found:
            row = Prompt(each.messages, each.person, each.conversation, split)
            found[key, split] = Candidate(row, opening(each.messages), each.surface == SURFACE)
            seen.add(key)
    return list(found.values())


def evidence_of(given: Iterable[Opinion], sides: Sides, left_out: Counter[str]) -> dict[str, list[Candidate[Any]]]:
    """The opinions as rows, by the names of their kinds."""
    found: dict[str, list[Candidate[Any]]] = {kind: [] for kind in ("pairs", "thumbs", "scores", "tags")}
    thumbs: list[tuple[Opinion, Split]] = []
    compared: set[tuple[str, str, frozenset[str | None]]] = set()

    def add(kind: str, row: Any, imported: bool) -> None:
        found[kind].append(Candidate(row, opening(row.messages), imported))

    for opinion in given:
        if opinion.kind == "tags" and not opinion.value:
            continue
        whose, imported = (opinion.person, opinion.conversation), opinion.surface == SURFACE
        split = sides.of(opinion.conversation, opinion.messages, opinion.person)
        left_out["straddling"] += split is None
        if split is None:
            continue
        messages, text = opinion.messages, opinion.text
        if opinion.kind == "thumb":
            thumbs.append((opinion, split))
            add("thumbs", Thumb(messages, text, opinion.value == 1, "thumb", *whose, split), imported)
        elif opinion.kind == "score":
            add("scores", Score(messages, text, opinion.value, *whose, split), imported)
        elif opinion.kind == "tags":
            add("tags", Tagged(messages, text, sorted(set(opinion.value)), *whose, split), imported)
        elif opinion.kind == "correction":
            add("pairs", Pair(messages, opinion.value, text, 1.0, "correction", *whose, split), imported)
        elif messages != opinion.other_messages or opinion.other_text is None:
            left_out["different prompts"] += 1
        else:
            compared.add((opinion.person, line(messages), frozenset((text, opinion.other_text))))
            add("pairs", _judged(opinion, opinion.other_text, split), imported)
    for better, worse, split in _opposite(thumbs, compared):
        whose = (better.person, better.conversation)
        row = Pair(better.messages, better.text, worse.text, 1.0, "thumbs", *whose, split)
        add("pairs", row, better.surface == worse.surface == SURFACE)
    return found


def _judged(opinion: Opinion, other: str, split: Split) -> Pair:
    """What a side by side says of the two answers, the better one first."""
    first, second = (other, opinion.text) if opinion.value == "right" else (opinion.text, other)
    outcome, draw = OUTCOMES[opinion.value], opinion.draw or "uniform"
    return Pair(opinion.messages, first, second, outcome, "pair", opinion.person, opinion.conversation, split, draw)


def _opposite(
    thumbs: list[tuple[Opinion, Split]], compared: set[tuple[str, str, frozenset[str | None]]]
) -> Iterator[tuple[Opinion, Opinion, Split]]:
    """What a person liked and what they did not like, of answers to one prompt that they did not compare."""
    siblings: dict[tuple[str, str], list[tuple[Opinion, Split]]] = defaultdict(list)
    for opinion, split in thumbs:
        siblings[opinion.person, line(opinion.messages)].append((opinion, split))
    for whose, group in siblings.items():
        liked = [each for each in group if each[0].value == 1]
        disliked = [opinion for opinion, _ in group if opinion.value == -1]
        for (better, split), worse in product(liked, disliked):
            if (*whose, frozenset((better.text, worse.text))) not in compared:
                yield better, worse, split


def ordered(rows: Iterable[Candidate[RowOf]], scrubber: Scrubber | None, seed: int) -> list[Candidate[RowOf]]:
    """The rows in the order that the seed and what they say decide; with placeholders, where there is a scrubber.

    Neither ids nor times decide.
    """

    def clean(row: RowOf) -> RowOf:
        if scrubber is None:
            return row
        said: dict[str, Any] = {name: scrubber.scrub(getattr(row, name), name) for name in TEXTS if hasattr(row, name)}
        if isinstance(row, Tagged):  # the API takes any words as a tag
            said["tags"] = sorted({scrubber.scrub(tag, "tags") for tag in row.tags})
        return replace(row, messages=scrubber.scrub_turns(row.messages, "messages"), **said)

    found: list[Candidate[RowOf]] = []
    for each in rows:
        row = clean(each.row)
        order = hashlib.sha256(f"{seed}\n{line(row)}".encode()).digest()
        found.append(replace(each, row=row, order=order))
    return sorted(found, key=lambda each: each.order)
