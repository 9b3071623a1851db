"""TRL's prompt-only rows: {prompt}, plain text or a conversation that ends with the user.

https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import ROLES, BadRow, Parsed, ParsedAnswer, text_at, turns_at

NAME = "trl-prompt"
NAMES = {role: role for role in ROLES}
ANSWERED = {"chosen", "rejected", "completion", "response", "label", "conversations", "messages", "responses"}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these: nothing in it answers the prompt."""
    return "prompt" in row and not any(key.rpartition(".")[2] in ANSWERED for key in row)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    if not matches(row):
        # Not silently: the row may hold an opinion that another format would keep.
        raise BadRow("it has more than a prompt" if "prompt" in row else "prompt is missing")
    if isinstance(row.get("prompt"), list):
        prompt = turns_at(row, "prompt", names=NAMES)
    else:
        prompt = [{"role": "user", "content": text_at(row, "prompt")}]
    if not prompt or prompt[-1]["role"] != "user":
        raise BadRow("prompt does not end with a turn of the user")
    if not prompt[-1]["content"].strip():
        raise BadRow("prompt is empty")
    return [ParsedAnswer(prompt, None)]
