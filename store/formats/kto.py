"""LLaMA-Factory's liked and disliked answers (KTO): a conversation and a verdict on its last turn.

As {messages: [{role, content}], label}, as {conversations: [{from, value}], kto_tag} or as {instruction, input?,
output, kto_tag}; the verdict is true or false.
https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats import sharegpt
from store.formats.rows import ROLES, BadRow, Parsed, ParsedThumb, Turns, answered, text_at, turns_at

NAME = "kto"
NAMES = {role: role for role in ROLES}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    labelled = isinstance(row.get("messages"), list) and isinstance(row.get("label"), bool)
    return labelled or "kto_tag" in row


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    key = "kto_tag" if "kto_tag" in row else "label"
    label = row.get(key)
    if not isinstance(label, bool):
        raise BadRow(f"{key} is missing" if key not in row else f"{key} is neither true nor false")
    system: Turns = [{"role": "system", "content": text_at(row, "system")}] if row.get("system") else []
    if "messages" in row:
        turns = turns_at(row, "messages", names=NAMES)
    elif "conversations" in row:
        turns = turns_at(row, "conversations", role="from", content="value", names=sharegpt.NAMES)
    else:
        question = text_at(row, "instruction")
        if row.get("input"):
            question = f"{question}\n{text_at(row, 'input')}"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": text_at(row, "output")}]
    prompt, completion = answered(system + turns, "the conversation")
    return [ParsedThumb(prompt, completion, label)]
