"""HH-RLHF's transcripts: {chosen, rejected}, each a whole conversation as text that differs in its last answer.

A turn begins with an empty line and `Human:` or `Assistant:`. https://huggingface.co/datasets/Anthropic/hh-rlhf
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from store.formats.rows import BadRow, Parsed, Turns, pair, text_at

NAME = "hh-rlhf"
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    sides = (row.get("chosen"), row.get("rejected"))
    return "prompt" not in row and all(isinstance(side, str) and TURN.match(side) is not None for side in sides)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    return [pair(_turns(row, "chosen"), _turns(row, "rejected"))]


def _turns(row: Mapping[str, Any], key: str) -> Turns:
    before, *pieces = TURN.split(text_at(row, key))
    if before.strip() or not pieces:
        raise BadRow(f"{key} does not begin with an empty line and Human:")
    return [
        {"role": SPEAKERS[speaker], "content": text.strip()}
        for speaker, text in zip(pieces[::2], pieces[1::2], strict=True)
    ]
