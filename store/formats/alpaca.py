"""LLaMA-Factory's preference rows in Alpaca form: {instruction, input?, chosen, rejected, system?, history?}.

The prompt is the instruction and, on the next line, the input. `history` holds earlier [question, answer] turns.
https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import BadRow, Parsed, Turns, pair, text_at

NAME = "alpaca"


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "instruction" in row and "chosen" in row and "rejected" in row


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    system: Turns = [{"role": "system", "content": text_at(row, "system")}] if row.get("system") else []
    question = text_at(row, "instruction")
    if row.get("input"):
        question = f"{question}\n{text_at(row, 'input')}"
    prompt = [*system, *_history(row), {"role": "user", "content": question}]
    chosen = [*prompt, {"role": "assistant", "content": text_at(row, "chosen")}]
    return [pair(chosen, [*prompt, {"role": "assistant", "content": text_at(row, "rejected")}])]


def _history(row: Mapping[str, Any]) -> Turns:
    turns: Turns = []
    for place, each in enumerate(row.get("history") or []):
        if not isinstance(each, list) or len(each) != 2:
            raise BadRow(f"history[{place}] is no [question, answer]")
        said = {"question": each[0], "answer": each[1]}
        turns.append({"role": "user", "content": text_at(said, "question")})
        turns.append({"role": "assistant", "content": text_at(said, "answer")})
    return turns
