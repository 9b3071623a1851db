"""NVIDIA's HelpSteer preferences: two answers and how much better the second one is, from -3 to 3, 0 being a tie.

HelpSteer2: {prompt, response_1, response_2, preference_strength}, where a longer prompt is a transcript; HelpSteer3:
{context, response1, response2, overall_preference}. How strong a preference is, the store does not keep.
https://huggingface.co/datasets/nvidia/HelpSteer2 and https://huggingface.co/datasets/nvidia/HelpSteer3
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, Parsed, ParsedDraw, pair
from store.formats.transcripts import answer_at, prompt_at

NAME = "helpsteer"
SHAPES = (
    ("prompt", "response_1", "response_2", "preference_strength"),
    ("context", "response1", "response2", "overall_preference"),
)
# Why they preferred it, and what each of them said before the one strength was made of that.
REASONS = frozenset(
    {
        "preference_statement",
        "preference_elaboration",
        "three_most_similar_preferences",
        "all_preferences_unprocessed",
        "individual_preference",
    }
)


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return any(row.keys() >= set(shape) for shape in SHAPES)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, REASONS.union(_shape(row)))


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut why nothing can be learned from it."""
    asked, first, second, strength = _shape(row)
    value = row.get(strength)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -3 <= value <= 3:
        raise BadRow(f"{strength} is no number from -3 to 3")
    text = row[asked] if isinstance(row.get(asked), str) else None
    prompt = prompt_at(row, asked)
    one, other = (prompt + answer_at(row, side, text) for side in (first, second))
    if value == 0:
        told = pair(one, other)
        return [ParsedDraw(told.prompt, told.chosen, told.rejected, "tie")]
    return [pair(one, other) if value < 0 else pair(other, one)]


def _shape(row: Mapping[str, Any]) -> tuple[str, ...]:
    return next((shape for shape in SHAPES if shape[-1] in row), SHAPES[0])
