"""From the store's messages to what the page's components show, and back.

Each shown message carries its id in its metadata, so that what a person does to it in their browser names the message
itself: never a position in a list, which another tab or a new answer would move.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import gradio as gr

from problems import Problem
from store.schema import Message

Shown = dict[str, Any]
T = TypeVar("T")


async def at_store(work: Callable[..., T], *arguments: Any) -> T:
    """Do something with the store away from the event loop; a Problem is told to the person at the page."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except Problem as problem:
        raise gr.Error(f"{problem} {problem.hint}".strip(), title="Not done", print_exception=False) from problem


def show(path: Sequence[Message]) -> list[Shown]:
    """Messages as gr.Chatbot takes them; a system turn is not shown."""
    return [piece(each.role, each.content, each.id) for each in path if each.role in ("user", "assistant")]


def piece(role: str, text: str, message_id: str | None = None) -> Shown:
    """One shown message; one that is still being written has no id."""
    return {"role": role, "content": text or "…", "metadata": {"id": message_id} if message_id else {}}


def id_of(shown: Mapping[str, Any]) -> str:
    """The id of a shown message. Problem while it is still being written."""
    found = (shown.get("metadata") or {}).get("id")
    if not found:
        raise Problem("this answer is not finished", hint="wait for its end")
    return str(found)


def last_id(history: Sequence[Mapping[str, Any]]) -> str | None:
    """The id of the last shown message that has one."""
    for each in reversed(history):
        found = (each.get("metadata") or {}).get("id")
        if found:
            return str(found)
    return None


def note(text: str, *, thanks: bool = False) -> str:
    """The line under the conversation."""
    return f'<span class="{"thanks" if thanks else "plain"}" role="status">{html.escape(text)}</span>'


def version_name(version: int) -> str:
    """A version in a sentence."""
    return "the base model" if version == 0 else f"version {version}"
