"""LLaMA-Factory's preferences in ShareGPT form: {conversations, chosen, rejected, system?}; turns are {from, value}.

https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, LeftOut, Parsed, Turns, check_plain, pair, system_at, turn_of, turns_at

NAME = "sharegpt"
NAMES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "function_call": "call",
}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "conversations" in row and "chosen" in row and "rejected" in row


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, {"conversations", "chosen", "rejected", "system"})


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    check_plain(row)
    prompt = turns_of(row, "conversations")
    return [pair(*(system_at(row, prompt + _answer(row, side), "system") for side in ("chosen", "rejected")))]


def turns_of(row: Mapping[str, Any], key: str) -> Turns:
    """Turns as ShareGPT writes them; raises as `turns_at` does, and LeftOut where the model calls a function."""
    turns = turns_at(row, key, role="from", content="value", names=NAMES)
    if any(turn["role"] == "call" for turn in turns):
        raise LeftOut("it calls tools")
    return turns


def _answer(row: Mapping[str, Any], key: str) -> Turns:
    if key not in row:
        raise BadRow(f"{key} is missing")
    turn = turn_of(row[key], key, "from", "value", NAMES)
    if turn["role"] == "call":
        raise LeftOut("it calls tools")
    return [turn]
