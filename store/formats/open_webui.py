"""What Open WebUI's two exports share: a chat as a tree of messages, and what it keeps of a person's opinion.

An opinion is {rating: 1 or -1, reason?, tags?, comment?, details: {rating: 1 to 10}?}. The thumb is what was clicked;
the score is taken from a scale that is cut to the thumb's half, so one from the other half is left over and dropped.
https://docs.openwebui.com/features/evaluation/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from store.formats.columns import named, unknown
from store.formats.rows import (
    BadRow,
    LeftOut,
    Opinions,
    Turns,
    comment_at,
    list_at,
    object_at,
    tags_of,
    text_at,
    thumb_at,
    words_at,
)
from store.formats.trees import Turn

NAMES = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool"}
# What a rating may hold; `model_id` and the like are no opinions.
KEYS = frozenset({"rating", "reason", "tags", "comment", "details"})
MIDDLE = 5  # scores up to here go with a thumb down


def opinions_of(told: Mapping[str, Any]) -> Opinions:
    """The opinions in `data` of a feedback or `annotation` of a message; BadRow on values that are none.

    With the click on a thumb Open WebUI lets a model guess tags, which stand alone then; they are the person's once the
    panel was kept, which leaves a reason, a comment or details, be they empty.
    """
    if unread := unknown(told, KEYS):
        raise BadRow(f"nothing here reads its {named(unread)}")
    thumb = thumb_at(told, "rating")
    tags = told.get("tags") or []
    if not isinstance(tags, list):
        raise BadRow("tags is no list")
    details = told.get("details")
    if details is not None and not isinstance(details, Mapping):
        raise BadRow("details is no object")
    if all(told.get(name) is None for name in ("reason", "comment", "details")):
        tags = []
    reason = told.get("reason") or None
    score = _score((details or {}).get("rating"), thumb)
    return (*thumb, *score, *tags_of([reason, *tags]), *comment_at(told, "comment"))


def person_of(row: Mapping[str, Any]) -> str | None:
    """Who rated, by the program's own id."""
    return row["user_id"] if isinstance(row.get("user_id"), str) and row["user_id"] else None


def turns_of(chat: Mapping[str, Any], *, rated: bool) -> dict[str, Turn]:
    """The messages of a chat by id, from `history` (a tree), or from `messages` (one branch) where that is empty.

    `rated`: with the opinions that the messages' annotations hold.
    """
    history = chat.get("history")
    tree = history.get("messages") if isinstance(history, Mapping) else None
    turns: dict[str, Turn] = {}
    if isinstance(tree, Mapping) and tree:
        for id, message in tree.items():
            parent = message.get("parentId") if isinstance(message, Mapping) else None
            turns[id] = _turn(message, parent, rated)
            if isinstance(parent, str) and parent not in tree:
                turns[id] = replace(turns[id], fault="the turn before it is not in the file")
        return turns
    before: str | None = None
    for place, message in enumerate(list_at(chat, "messages")):
        id = message.get("id") if isinstance(message, Mapping) else None
        id = id if isinstance(id, str) else f"message {place}"
        turns[id] = _turn(message, before, rated)
        before = id
    if not turns:
        raise LeftOut("its chat has no messages")
    return turns


def system_of(chat: Mapping[str, Any]) -> Turns:
    """The chat's own system prompt as a turn, if it has one."""
    for place in (chat.get("params"), chat):
        if isinstance(place, Mapping) and place.get("system"):
            return [{"role": "system", "content": text_at(place, "system")}]
    return []


def _turn(message: Any, parent: Any, rated: bool) -> Turn:
    above = parent if isinstance(parent, str) else None
    if not isinstance(message, Mapping):
        return Turn(above, "user", "", fault="a message is no object")
    annotation = message.get("annotation")
    told = rated and annotation is not None and message.get("role") == "assistant"
    opinions = opinions_of(object_at(message, "annotation")) if told else ()
    try:
        role = text_at(message, "role")
        if role not in NAMES:
            raise BadRow(f"role {role[:40]!r} is none of {', '.join(NAMES)}")
        if parent is not None and above is None:
            raise BadRow("parentId is no text")
        if role == "assistant" and message.get("error"):
            return Turn(above, role, "", opinions)
        if message.get("files"):
            raise LeftOut("it comes with a file or picture")
        return Turn(above, NAMES[role], words_at(message, "content"), opinions)
    except (BadRow, LeftOut) as fault:
        return Turn(above, "assistant" if opinions else "user", "", opinions, f"a message: {fault}")


def _score(value: Any, thumb: Opinions) -> Opinions:
    if value is None or value in ("", 0):
        return ()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 3:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10:
        raise BadRow("details.rating is no whole number from 1 to 10")
    if thumb and (thumb[0][1] == 1) != (value > MIDDLE):
        return ()
    return (("score", value),)
