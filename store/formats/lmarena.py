"""LMArena's 55,000 votes: {prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie}.

Each text is a JSON list, a prompt or answer a turn; of the winners one is 1. The sets of 33,000 and of 140,000 votes
are FastChat's cleaned ones. https://huggingface.co/datasets/lmarena-ai/arena-human-preference-55k
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, LeftOut, Parsed, ParsedDraw, Turns, answered, pair, text_at

NAME = "lmarena"
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
COLUMNS = frozenset({"prompt", "response_a", "response_b", *WINNERS})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return row.keys() >= COLUMNS


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    won = [name for name in WINNERS if _flag(row, name)]
    if len(won) != 1:
        raise BadRow(f"not one of {', '.join(WINNERS)} is 1")
    prompts = _texts(row, "prompt")
    one, other = (_conversation(prompts, _texts(row, side)) for side in ("response_a", "response_b"))
    if won == ["winner_model_a"]:
        return [pair(one, other)]
    if won == ["winner_model_b"]:
        return [pair(other, one)]
    told = pair(one, other)
    return [ParsedDraw(told.prompt, told.chosen, told.rejected, "tie")]


def _conversation(prompts: list[str], answers: list[str]) -> Turns:
    if len(prompts) != len(answers):
        raise LeftOut("it has not an answer to each prompt")
    turns: Turns = []
    for question, text in zip(prompts, answers, strict=True):
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": text})
    answered(turns, "a conversation")
    return turns


def _texts(row: Mapping[str, Any], key: str) -> list[str]:
    try:
        value = row[key] if isinstance(row.get(key), list) else json.loads(text_at(row, key))
    except (ValueError, RecursionError):
        raise BadRow(f"{key} is no JSON") from None
    if not isinstance(value, list) or not all(text is None or isinstance(text, str) for text in value):
        raise BadRow(f"{key} is no list of texts")
    try:
        return [text_at({key: text}, key) for text in value]
    except BadRow as bad:
        raise LeftOut(str(bad)) from None  # some of its texts hold half of a surrogate pair


def _flag(row: Mapping[str, Any], key: str) -> bool:
    value = row.get(key)
    if str(value) not in ("0", "1", "0.0", "1.0", "True", "False"):
        raise BadRow(f"{key} is neither 0 nor 1")
    return str(value) in ("1", "1.0", "True")
