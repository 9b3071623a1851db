"""HF chat-ui's conversations: {messages: [{id, from, content, score, ancestors, children}], preprompt?}.

`score` is 1, 0 or -1; `ancestors` are the ids of the turns before, from the first one on. Older ones are plain lists.
https://github.com/huggingface/chat-ui
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, LeftOut, Lost, Parsed, list_at, text_at, thumb_at, words_at
from store.formats.trees import Turn, judged

NAME = "chat-ui"
COLUMNS = frozenset({"messages", "preprompt"})
NAMES = {"user": "user", "assistant": "assistant", "system": "system"}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    messages = row.get("messages")
    return isinstance(messages, list) and any(
        isinstance(each, Mapping) and "from" in each and "content" in each for each in messages
    )


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed | Lost]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    turns: dict[str, Turn] = {}
    before: str | None = None
    for place, message in enumerate(list_at(row, "messages")):
        id = message["id"] if isinstance(message, Mapping) and isinstance(message.get("id"), str) else f"no. {place}"
        turns[id] = _turn(message, before)
        before = id
    own = any(turn.role == "system" and turn.content.strip() for turn in turns.values())
    instructions = text_at(row, "preprompt") if row.get("preprompt") else ""
    user = row.get("userId")
    system = [{"role": "system", "content": instructions}] if instructions.strip() and not own else []
    parsed = judged(turns, system, person=user if isinstance(user, str) and user else None)
    for each in parsed:
        # The root of its trees is a system turn, which may be empty.
        if not isinstance(each, Lost) and each.prompt[0]["role"] == "system" and not each.prompt[0]["content"].strip():
            del each.prompt[0]
    return parsed


def _turn(message: Any, before: str | None) -> Turn:
    if not isinstance(message, Mapping):
        return Turn(before, "user", "", fault="a message is no object")
    opinions = thumb_at(message, "score") if message.get("from") == "assistant" else ()
    parent = before
    try:
        if message.get("ancestors") is not None:
            ancestors = list_at(message, "ancestors")
            parent = text_at({"ancestors": ancestors[-1]}, "ancestors") if ancestors else None
        role = text_at(message, "from")
        if role not in NAMES:
            raise BadRow(f"from {role[:40]!r} is none of {', '.join(NAMES)}")
        if message.get("files"):
            raise LeftOut("it comes with a file or picture")
        return Turn(parent, NAMES[role], "" if _failed(message) else words_at(message, "content"), opinions)
    except (BadRow, LeftOut) as fault:
        return Turn(parent, "assistant" if opinions else "user", "", opinions, f"a message: {fault}")


def _failed(message: Mapping[str, Any]) -> bool:
    updates = message.get("updates")
    return isinstance(updates, list) and any(
        isinstance(each, Mapping) and each.get("type") == "status" and each.get("status") == "error" for each in updates
    )
