"""Gradio's log of flags in a chat (`log.csv`): the conversation as JSON, the index of a turn, Like or Dislike.

The header names five columns, conversation,index,value,flag,timestamp, but the rows have four values: the third one is
the flag. Any other word than Like and Dislike is a tag. https://www.gradio.app/docs/gradio/chatinterface
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import (
    ROLES,
    BadRow,
    LeftOut,
    Opinions,
    Parsed,
    ParsedAnswer,
    answered,
    tags_of,
    text_at,
    turns_at,
)

NAME = "gradio"
COLUMNS = frozenset({"conversation", "index", "value", "flag"})
NAMES = {role: role for role in ROLES}
THUMBS: dict[str, Opinions] = {"Like": (("thumb", 1),), "Dislike": (("thumb", -1),)}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return {"conversation", "index", "value"} <= row.keys() and isinstance(row["conversation"], str)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that its flag is empty."""
    # A row with a value for every column has its flag in the column of that name.
    flag = text_at(row, "flag" if "timestamp" in row else "value")
    try:
        conversation = json.loads(text_at(row, "conversation"))
    except (ValueError, RecursionError):
        raise BadRow("conversation is no JSON") from None
    turns = turns_at({"conversation": conversation}, "conversation", names=NAMES)
    index = text_at(row, "index").strip("[]() ").split(",")[0]
    if not (index.isascii() and index.isdecimal() and len(index) < 10) or int(index) >= len(turns):
        raise BadRow(f"index {index[:20]!r} is no turn of the conversation")
    prompt, completion = answered(turns[: int(index) + 1], f"conversation[{index}]")
    opinions = THUMBS.get(flag) or tags_of([flag])
    if not opinions:
        raise LeftOut("its flag is empty")
    return [ParsedAnswer(prompt, completion, opinions)]
