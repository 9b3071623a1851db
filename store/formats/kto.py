"""LLaMA-Factory's liked and disliked answers (KTO): a conversation and a verdict on its last turn.

As {messages: [{role, content}], label}, as {conversations: [{from, value}], kto_tag} or as {instruction, input?,
output, kto_tag}; the verdict is true or false.
https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.alpaca import question_of
from store.formats.columns import unknown
from store.formats.rows import ROLES, BadRow, Parsed, ParsedThumb, answered, check_plain, system_at, turns_at
from store.formats.sharegpt import turns_of
from store.formats.transcripts import said_at

NAME = "kto"
NAMES = {role: role for role in ROLES}
SHAPES = ({"messages"}, {"conversations"}, {"instruction", "input", "output"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    labelled = isinstance(row.get("messages"), list) and isinstance(row.get("label"), bool)
    return labelled or "kto_tag" in row


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answer, and are not read."""
    read = next((shape for shape in SHAPES if shape & row.keys()), set())
    return unknown(row, {*read, "system", "kto_tag" if "kto_tag" in row else "label"})


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    key = "kto_tag" if "kto_tag" in row else "label"
    label = row.get(key)
    if not isinstance(label, bool):
        raise BadRow(f"{key} is missing" if key not in row else f"{key} is neither true nor false")
    check_plain(row)
    if "messages" in row:
        turns = turns_at(row, "messages", names=NAMES)
    elif "conversations" in row:
        turns = turns_of(row, "conversations")
    else:
        turns = question_of(row) + said_at(row, "output", "assistant")
    prompt, completion = answered(system_at(row, turns, "system"), "the conversation")
    return [ParsedThumb(prompt, completion, label)]
