"""FeeL's conversations: {conversation: [{role, content, rating, chosen, rejected}], session_id, conversation_id, ...}.

`rating` is 1, 0 or -1. Where an answer was edited, `chosen` is what the person wrote and `rejected` what the model
said; otherwise they repeat the content. https://huggingface.co/spaces/feel-fl/feel
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import ROLES, BadRow, Opinions, Parsed, list_at, text_at, thumb_at, words_at
from store.formats.trees import Turn, judged

NAME = "feel"


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    conversation = row.get("conversation")
    return isinstance(conversation, list) and ("session_id" in row or "conversation_id" in row)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    turns: dict[str, Turn] = {}
    parent: str | None = None
    for place, message in enumerate(list_at(row, "conversation")):
        try:
            if not isinstance(message, Mapping):
                raise BadRow("it is no object")
            turn, shown = _turn(message, parent)
        except BadRow as bad:
            raise BadRow(f"conversation[{place}]: {bad}") from None
        turns[str(place)] = turn
        parent = str(place)
        if shown != turn.content:
            # The conversation went on from what the person wrote, not from what the model had said.
            parent = f"{place} as edited"
            turns[parent] = Turn(turn.parent, turn.role, shown)
    return judged(turns, [])


def _turn(message: Mapping[str, Any], parent: str | None) -> tuple[Turn, str]:
    """The turn as it was said and judged, and its words as they were shown later."""
    role, content = text_at(message, "role"), words_at(message, "content")
    if role not in ROLES:
        raise BadRow(f"role {role[:40]!r} is none of {', '.join(ROLES)}")
    if role != "assistant":
        return Turn(parent, role, content), content
    thumb = thumb_at(message, "rating")
    chosen, rejected = (text_at(message, key) if message.get(key) else "" for key in ("chosen", "rejected"))
    if not chosen.strip() or not rejected.strip() or chosen == rejected:
        return Turn(parent, role, content, thumb), content
    correction: Opinions = (("correction", chosen),)
    # A thumb on the edited text judges the person's own words.
    return Turn(parent, role, rejected, (*(thumb if content == rejected else ()), *correction)), content
