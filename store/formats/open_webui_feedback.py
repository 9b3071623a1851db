"""Open WebUI's feedback export, a row a rated answer: {type: rating, data, meta: {message_id}, snapshot: {chat}}.

https://docs.openwebui.com/features/evaluation/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from store.formats.columns import unknown
from store.formats.open_webui import opinions_of, person_of, system_of, turns_of
from store.formats.rows import LeftOut, Parsed, object_at, text_at
from store.formats.trees import Turn, answer

NAME = "open-webui-feedback"
COLUMNS = frozenset({"data", "snapshot"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return "data" in row and "meta" in row and ("snapshot" in row or row.get("type") == "rating")


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that it rates nothing."""
    if row.get("type", "rating") != "rating":
        raise LeftOut("it is no rating")
    opinions = opinions_of(object_at(row, "data"))
    if not opinions:
        raise LeftOut("it holds no opinion")
    if row.get("snapshot") is None:
        raise LeftOut("it has no snapshot of the chat: what was rated is unknown")
    outer = object_at(object_at(row, "snapshot"), "chat")
    chat = object_at(outer, "chat") if "chat" in outer else outer
    turns = turns_of(chat, rated=False)
    id = _rated(object_at(row, "meta"), turns)
    return [answer(turns | {id: replace(turns[id], opinions=opinions)}, id, system_of(chat), person_of(row))]


def _rated(meta: Mapping[str, Any], turns: Mapping[str, Turn]) -> str:
    id = text_at(meta, "message_id")
    if id not in turns:
        raise LeftOut("the rated message is not in the snapshot of the chat")
    return id
