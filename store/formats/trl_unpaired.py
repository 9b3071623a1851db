"""TRL's unpaired preference rows: {prompt, completion, label}, plain text or conversations; label is true or false.

https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import ROLES, BadRow, Parsed, ParsedThumb, Turns, answered, text_at, turns_at

NAME = "trl-unpaired"
NAMES = {role: role for role in ROLES}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "prompt" in row and "completion" in row and "label" in row


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    label = row.get("label")
    if not isinstance(label, bool):
        raise BadRow("label is missing" if "label" not in row else "label is neither true nor false")
    prompt, completion = answered(_turns(row, "prompt", "user") + _turns(row, "completion", "assistant"), "completion")
    return [ParsedThumb(prompt, completion, label)]


def _turns(row: Mapping[str, Any], key: str, role: str) -> Turns:
    if isinstance(row.get(key), list):
        return turns_at(row, key, names=NAMES)
    return [{"role": role, "content": text_at(row, key)}]
