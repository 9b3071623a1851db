"""HF chat-ui's conversations: {messages: [{id, from, content, score, ancestors, children}], preprompt?}.

`score` is 1, 0 or -1; `ancestors` are the ids of the turns before, from the first one on. Older ones are plain lists.
https://github.com/huggingface/chat-ui
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import BadRow, Parsed, list_at, text_at, thumb_at, words_at
from store.formats.trees import Turn, judged

NAME = "chat-ui"
NAMES = {"user": "user", "assistant": "assistant", "system": "system"}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    messages = row.get("messages")
    return isinstance(messages, list) and any(
        isinstance(each, Mapping) and "from" in each and "content" in each for each in messages
    )


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    turns: dict[str, Turn] = {}
    before: str | None = None
    for place, message in enumerate(list_at(row, "messages")):
        if not isinstance(message, Mapping):
            raise BadRow(f"messages[{place}] is no object")
        id = message["id"] if isinstance(message.get("id"), str) else f"message {place}"
        try:
            turns[id] = _turn(message, before)
        except BadRow as bad:
            raise BadRow(f"messages[{place}]: {bad}") from None
        before = id
    own = any(turn.role == "system" and turn.content.strip() for turn in turns.values())
    instructions = text_at(row, "preprompt") if row.get("preprompt") else ""
    parsed = judged(turns, [{"role": "system", "content": instructions}] if instructions.strip() and not own else [])
    for each in parsed:
        # The root of its trees is a system turn, which may be empty.
        if each.prompt[0]["role"] == "system" and not each.prompt[0]["content"].strip():
            del each.prompt[0]
    return parsed


def _turn(message: Mapping[str, Any], before: str | None) -> Turn:
    role = text_at(message, "from")
    if role not in NAMES:
        raise BadRow(f"from {role[:40]!r} is none of {', '.join(NAMES)}")
    parent = before
    if message.get("ancestors") is not None:
        ancestors = list_at(message, "ancestors")
        parent = text_at({"ancestors": ancestors[-1]}, "ancestors") if ancestors else None
    opinions = thumb_at(message, "score") if role == "assistant" else ()
    return Turn(parent, NAMES[role], words_at(message, "content"), opinions)
