"""TRL's unpaired preference rows: {prompt, completion, label}, plain text or conversations; label is true or false.

https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import SYSTEMS, unknown, used
from store.formats.rows import BadRow, Parsed, ParsedThumb, answered, check_plain, system_at
from store.formats.transcripts import answer_at, prompt_at

NAME = "trl-unpaired"


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "prompt" in row and "completion" in row and "label" in row


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answer, and are not read."""
    return unknown(row, {"prompt", "completion", "label", used(row, SYSTEMS)})


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    check_plain(row)
    label = row.get("label")
    if not isinstance(label, bool):
        raise BadRow("label is missing" if "label" not in row else "label is neither true nor false")
    prompt = prompt_at(row, "prompt")
    text = row["prompt"] if isinstance(row["prompt"], str) else None
    turns = system_at(row, prompt + answer_at(row, "completion", text), *SYSTEMS)
    return [ParsedThumb(*answered(turns, "completion"), label)]
