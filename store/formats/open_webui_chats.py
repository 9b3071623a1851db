"""Open WebUI's export of chats: {id, title, chat: {history, messages}}, with ratings as `annotation` of messages.

https://docs.openwebui.com/features/chat-features/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.open_webui import system_of, turns_of
from store.formats.rows import Parsed, object_at
from store.formats.trees import judged

NAME = "open-webui-chats"


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    chat = row.get("chat")
    return isinstance(chat, Mapping) and ("history" in chat or "messages" in chat) and "snapshot" not in row


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    chat = object_at(row, "chat")
    history = chat.get("history")
    last = history.get("currentId") if isinstance(history, Mapping) else None
    return judged(turns_of(chat, rated=True), system_of(chat), last if isinstance(last, str) else None)
