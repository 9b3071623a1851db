"""TRL's preference rows: {prompt, chosen, rejected}, plain text or conversations, the prompt explicit or not.

Without a prompt it is what both begin with: the common turns of two conversations, or the common words of two texts.
https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats import hh_rlhf
from store.formats.rows import ROLES, BadRow, Parsed, Turns, pair, text_at, turns_at

NAME = "trl-preference"
NAMES = {role: role for role in ROLES}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    both = "chosen" in row and "rejected" in row
    return both and "conversations" not in row and "instruction" not in row and not hh_rlhf.matches(row)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it."""
    if isinstance(row.get("chosen"), list):
        chosen = turns_at(row, "chosen", names=NAMES)
        prompt = _prompt(row, chosen)
        return [pair(prompt + chosen, prompt + turns_at(row, "rejected", names=NAMES))]
    chosen_text, rejected_text = text_at(row, "chosen"), text_at(row, "rejected")
    if row.get("prompt") is not None:
        prompt = _prompt(row, [])
    else:
        begun = _common_words(chosen_text, rejected_text)
        prompt = [{"role": "user", "content": begun.strip()}]
        chosen_text, rejected_text = chosen_text[len(begun) :], rejected_text[len(begun) :]
    good = {"role": "assistant", "content": chosen_text}
    return [pair([*prompt, good], [*prompt, {"role": "assistant", "content": rejected_text}])]


def _prompt(row: Mapping[str, Any], chosen: Turns) -> Turns:
    prompt = row.get("prompt")
    if prompt is None:
        return []
    if isinstance(prompt, list):
        return turns_at(row, "prompt", names=NAMES)
    # Some sets give the opening question as text beside whole conversations, which hold it already.
    if any(turn["role"] == "user" for turn in chosen):
        return []
    return [{"role": "user", "content": text_at(row, "prompt")}]


def _common_words(chosen: str, rejected: str) -> str:
    both = list(zip(chosen, rejected, strict=False))
    same = next((place for place, (one, other) in enumerate(both) if one != other), len(both))
    # Back to the end of a word: "bl" of "blue" and "black" belongs to the answers.
    begun = chosen[: max((place + 1 for place in range(same) if chosen[place].isspace()), default=0)]
    if not begun.strip():
        raise BadRow("prompt is missing, and chosen and rejected do not begin with the same words")
    return begun
