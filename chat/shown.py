"""From the store's messages to what the page's components show, and back.

Each shown message carries its id in its metadata, so that what a person does to it in their browser names the message
itself: never a position in a list, which another tab or a new answer would move.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from chat.markup import answer_markup, text_markup
from problems import Problem
from store.database import StoreUnavailable
from store.schema import Message

log = logging.getLogger(__name__)

Shown = dict[str, Any]
NOTHING = "(nothing)"  # in place of an answer without a word
# In place of an answer that never came. The style sheet leaves its thumbs out: there is nothing to rate.
UNANSWERED: Shown = {
    "role": "assistant",
    "content": '<span class="unanswered">No answer came. Retry asks again.</span>',
    "metadata": {},
}


def show(path: Sequence[Message]) -> list[Shown]:
    """Messages as gr.Chatbot takes them; a system turn is not shown."""
    return [piece(each.role, each.content, each.id) for each in path if each.role in ("user", "assistant")]


def piece(role: str, text: str, message_id: str) -> Shown:
    """One shown message: what a person wrote as it is, an answer as markdown."""
    markup = text_markup if role == "user" else answer_markup
    return {"role": role, "content": markup(text if text.strip() else NOTHING), "metadata": {"id": message_id}}


def written(text: str) -> Shown:
    """An answer that is being written: it has no id, and cannot be rated."""
    return {"role": "assistant", "content": answer_markup(text) or "…", "metadata": {}}


def id_of(shown: Mapping[str, Any]) -> str:
    """The id of a shown message. Problem while it is still being written."""
    found = (shown.get("metadata") or {}).get("id")
    if not found:
        raise Problem("this answer is not finished", hint="wait for its end")
    return str(found)


def note(text: str, *, thanks: bool = False) -> str:
    """The line under the conversation."""
    return f'<span class="{"thanks" if thanks else "plain"}" role="status">{html.escape(text)}</span>'


def refusal(problem: Problem, what: str = "Not done") -> str:
    """The line that says why nothing happened."""
    return note(f"{what}: {words_of(problem)}")


def words_of(problem: Problem) -> str:
    """A problem in sentences, without what is the operator's business."""
    if isinstance(problem, StoreUnavailable):
        log.error("the store cannot be used", exc_info=problem)
        return f"{problem.outside}."
    return f"{problem}. {problem.hint}".strip()


def version_name(version: int) -> str:
    """A version in a sentence."""
    return "the base model" if version == 0 else f"version {version}"
