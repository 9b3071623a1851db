"""LLaMA-Factory's preferences in ShareGPT form: {conversations, chosen, rejected, system?}; turns are {from, value}.

https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import BadRow, Parsed, Turns, pair, text_at, turn_of, turns_at

NAME = "sharegpt"
NAMES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "conversations" in row and "chosen" in row and "rejected" in row


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    prompt = turns_at(row, "conversations", role="from", content="value", names=NAMES)
    if row.get("system"):
        prompt = [{"role": "system", "content": text_at(row, "system")}, *prompt]
    return [pair(prompt + _answer(row, "chosen"), prompt + _answer(row, "rejected"))]


def _answer(row: Mapping[str, Any], key: str) -> Turns:
    if key not in row:
        raise BadRow(f"{key} is missing")
    return [turn_of(row[key], key, "from", "value", NAMES)]
