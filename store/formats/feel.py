"""FeeL's conversations: {conversation: [{role, content, rating, chosen, rejected}], session_id, conversation_id, ...}.

`rating` is 1, 0 or -1. Where an answer was edited, `chosen` is what the person wrote and `rejected` what the model
said; otherwise they repeat the content. https://huggingface.co/spaces/feel-fl/feel
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import named, unknown
from store.formats.rows import ROLES, BadRow, LeftOut, Lost, Opinions, Parsed, list_at, text_at, thumb_at, words_at
from store.formats.trees import Turn, judged

NAME = "feel"
COLUMNS = frozenset({"conversation"})
TURN = frozenset({"role", "content", "rating", "chosen", "rejected"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    conversation = row.get("conversation")
    return isinstance(conversation, list) and ("session_id" in row or "conversation_id" in row)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed | Lost]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    turns: dict[str, Turn] = {}
    parent: str | None = None
    for place, message in enumerate(list_at(row, "conversation")):
        turn, shown = _turn(message, parent)
        turns[str(place)] = turn
        parent = str(place)
        if shown != turn.content:
            # The conversation went on from what the person wrote, not from what the model had said.
            parent = f"{place} as edited"
            turns[parent] = Turn(turn.parent, turn.role, shown)
    return judged(turns, [])


def _turn(message: Any, parent: str | None) -> tuple[Turn, str]:
    """The turn as it was said and judged, and its words as they were shown later."""
    if not isinstance(message, Mapping):
        return Turn(parent, "user", "", fault="a turn is no object"), ""
    if unread := unknown(message, TURN):
        raise BadRow(f"nothing here reads a turn's {named(unread)}")
    answer = message.get("role") == "assistant"
    thumb = thumb_at(message, "rating") if answer else ()
    try:
        role, content = text_at(message, "role"), words_at(message, "content")
        if role not in ROLES:
            raise BadRow(f"role {role[:40]!r} is none of {', '.join(ROLES)}")
        if not answer:
            return Turn(parent, role, content), content
        chosen, rejected = (text_at(message, key) if message.get(key) else "" for key in ("chosen", "rejected"))
    except (BadRow, LeftOut) as fault:
        return Turn(parent, "assistant" if thumb else "user", "", thumb, f"a turn: {fault}"), ""
    if not chosen.strip() or not rejected.strip() or chosen == rejected:
        return Turn(parent, role, content, thumb), content
    correction: Opinions = (("correction", chosen),)
    # A thumb on the edited text judges the person's own words.
    return Turn(parent, role, rejected, (*(thumb if content == rejected else ()), *correction)), content
