"""LLaMA-Factory's preference rows in Alpaca form: {instruction, input?, chosen, rejected, system?, history?}.

The prompt is the instruction and, on the next line, the input. `history` holds earlier [question, answer] turns.
https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, Parsed, Turns, check_plain, pair, system_at, text_at
from store.formats.transcripts import said_at

NAME = "alpaca"
COLUMNS = frozenset({"instruction", "input", "chosen", "rejected", "system", "history"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "instruction" in row and "chosen" in row and "rejected" in row


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    check_plain(row)
    prompt = system_at(row, _history(row) + question_of(row), "system")
    return [pair(*(prompt + said_at(row, side, "assistant") for side in ("chosen", "rejected")))]


def question_of(row: Mapping[str, Any]) -> Turns:
    """The instruction and, on the next line, the input; or the turns of an instruction that is a transcript."""
    if row.get("input"):
        return [{"role": "user", "content": f"{text_at(row, 'instruction')}\n{text_at(row, 'input')}"}]
    return said_at(row, "instruction", "user")


def _history(row: Mapping[str, Any]) -> Turns:
    turns: Turns = []
    for place, each in enumerate(row.get("history") or []):
        if not isinstance(each, list) or len(each) != 2:
            raise BadRow(f"history[{place}] is no [question, answer]")
        said = {"question": each[0], "answer": each[1]}
        turns.append({"role": "user", "content": text_at(said, "question")})
        turns.append({"role": "assistant", "content": text_at(said, "answer")})
    return turns
