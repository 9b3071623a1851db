"""Open WebUI's export of chats: {id, title, chat: {history, messages}}, with ratings as `annotation` of messages.

https://docs.openwebui.com/features/chat-features/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.open_webui import person_of, system_of, turns_of
from store.formats.rows import Lost, Parsed, object_at
from store.formats.trees import judged

NAME = "open-webui-chats"
COLUMNS = frozenset({"chat"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    chat = row.get("chat")
    return isinstance(chat, Mapping) and ("history" in chat or "messages" in chat) and "snapshot" not in row


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed | Lost]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    chat = object_at(row, "chat")
    history = chat.get("history")
    last = history.get("currentId") if isinstance(history, Mapping) else None
    last = last if isinstance(last, str) else None
    return judged(turns_of(chat, rated=True), system_of(chat), last, person_of(row))
