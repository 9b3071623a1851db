"""TRL's prompt-only rows: {prompt}, plain text or a conversation that ends with the user; a system message beside it.

https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import SYSTEMS, unknown, used
from store.formats.rows import LeftOut, Parsed, ParsedAnswer, check_plain, system_at
from store.formats.transcripts import prompt_at

NAME = "trl-prompt"


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these: nothing in it answers the prompt."""
    return "prompt" in row and not unread(row)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of an answer, and are not read."""
    return unknown(row, {"prompt", used(row, SYSTEMS)})


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that it asks nothing."""
    check_plain(row)
    prompt = system_at(row, prompt_at(row, "prompt"), *SYSTEMS)
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        raise LeftOut("prompt does not end with a turn of the user or a tool")
    if not prompt[-1]["content"].strip():
        raise LeftOut("prompt is empty")
    return [ParsedAnswer(prompt, None)]
