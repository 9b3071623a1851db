"""TRL's preference rows: {prompt, chosen, rejected}, plain text or conversations, the prompt explicit or not.

Without a prompt it is what both begin with: the common turns of two conversations, or the common words of two texts.
Data sets on the hub call the prompt question, query or input, have a column for the system message, write transcripts
into the texts, and repeat the chosen answer as `response` or `messages`: all that is read.
https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats import hh_rlhf
from store.formats.columns import SYSTEMS, unknown, used
from store.formats.rows import BadRow, Parsed, Turns, check_plain, pair, system_at, text_at, turns_at
from store.formats.transcripts import NAMES, answer_at, prompt_at

NAME = "trl-preference"
PROMPTS = ("prompt", "question", "query", "input")
# The scores that the better and the worse one got say no more than which is better.
SCORES = {f"{name}_{side}" for name in ("score", "rating") for side in ("chosen", "rejected")} | {
    f"{side}_{name}" for name in ("score", "rating") for side in ("chosen", "rejected")
}
REPEATS = ("response", "messages")


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    both = "chosen" in row and "rejected" in row
    return both and "conversations" not in row and "instruction" not in row and not hh_rlhf.matches(row)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    known = {"chosen", "rejected", *SCORES, used(row, PROMPTS), used(row, SYSTEMS)}
    return unknown(row, known | {key for key in REPEATS if key in row and row[key] == row.get("chosen")})


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    check_plain(row)
    key = used(row, PROMPTS)
    text = row[key] if key is not None and isinstance(row[key], str) else None
    if isinstance(row.get("chosen"), list):
        chosen, rejected = (turns_at(row, side, names=NAMES) for side in ("chosen", "rejected"))
    else:
        text_at(row, "rejected")
        chosen, rejected = (answer_at(row, side, text) for side in ("chosen", "rejected"))
    if chosen and chosen[0]["role"] != "assistant" and not isinstance(row.get(key or ""), list):
        # Whole conversations hold the opening question, which some sets give as text beside them.
        prompt: Turns = []
    elif key is not None:
        prompt = prompt_at(row, key)
    elif isinstance(row["chosen"], str):
        begun = _common_words(row["chosen"], text_at(row, "rejected"))
        prompt = [{"role": "user", "content": begun.strip()}]
        chosen, rejected = (
            [{"role": "assistant", "content": row[side][len(begun) :]}] for side in ("chosen", "rejected")
        )
    else:
        prompt = []
    return [pair(*(system_at(row, prompt + side, *SYSTEMS) for side in (chosen, rejected)))]


def _common_words(chosen: str, rejected: str) -> str:
    both = list(zip(chosen, rejected, strict=False))
    same = next((place for place, (one, other) in enumerate(both) if one != other), len(both))
    # Back to the end of a word: "bl" of "blue" and "black" belongs to the answers.
    begun = chosen[: max((place + 1 for place in range(same) if chosen[place].isspace()), default=0)]
    if not begun.strip():
        raise BadRow("prompt is missing, and chosen and rejected do not begin with the same words")
    return begun
