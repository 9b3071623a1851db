"""HH-RLHF's transcripts: {chosen, rejected}, each a whole conversation as text that differs in its last answer.

A turn begins with an empty line, but for the first one of some copies, and `Human:` or `Assistant:`.
https://huggingface.co/datasets/Anthropic/hh-rlhf
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, Parsed, Turns, pair, text_at
from store.formats.transcripts import turns_in

NAME = "hh-rlhf"
BEGUN = re.compile(r"\s*(Human|Assistant):")
PROMPTS = ("prompt", "question", "query", "input", "instruction")


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    sides = (row.get("chosen"), row.get("rejected"))
    asked = any(row.get(name) is not None for name in PROMPTS)
    return not asked and all(isinstance(side, str) and BEGUN.match(side) is not None for side in sides)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, {"chosen", "rejected"})


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    return [pair(_turns(row, "chosen"), _turns(row, "rejected"))]


def _turns(row: Mapping[str, Any], key: str) -> Turns:
    found = turns_in(text_at(row, key))
    if found is None:
        raise BadRow(f"{key} is no transcript that begins with Human:")
    return found[0]
