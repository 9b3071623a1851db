"""Nectar's rankings: {prompt, answers: [{answer, rank}]}, the prompt a transcript, rank 1 the best; a pair of each two.

https://huggingface.co/datasets/berkeley-nest/Nectar
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from store.formats.columns import named, unknown
from store.formats.rows import BadRow, LeftOut, Lost, Parsed, ParsedDraw, list_at, object_at, pair
from store.formats.transcripts import answer_at, prompt_at

NAME = "nectar"
COLUMNS = frozenset({"prompt", "answers", "num_responses", "good_natured"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    answers = row.get("answers")
    return "prompt" in row and isinstance(answers, list) and any(_ranked(each) for each in answers)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed | Lost]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    text = row["prompt"] if isinstance(row.get("prompt"), str) else None
    prompt = prompt_at(row, "prompt")
    ranked = []
    for place, each in enumerate(list_at(row, "answers")):
        given = object_at({"answer": each}, "answer")
        if unread := unknown(given, {"answer", "rank"}):
            raise BadRow(f"answers[{place}]: nothing here reads its {named(unread)}")
        rank = given.get("rank")
        if isinstance(rank, bool) or not isinstance(rank, int | float) or rank != rank:
            raise BadRow(f"answers[{place}]: rank is no number")
        ranked.append((rank, prompt + answer_at(given, "answer", text)))
    if len(ranked) < 2:
        raise LeftOut("it ranks fewer than two answers")
    found: list[Parsed | Lost] = []
    for (rank, one), (other_rank, other) in combinations(ranked, 2):
        try:
            told = pair(one, other) if rank <= other_rank else pair(other, one)
        except LeftOut as left:
            found.append(Lost(str(left)))
            continue
        tie = rank == other_rank
        found.append(ParsedDraw(told.prompt, told.chosen, told.rejected, "tie") if tie else told)
    return found


def _ranked(value: Any) -> bool:
    return isinstance(value, Mapping) and "answer" in value and "rank" in value
