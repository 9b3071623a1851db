"""LibreChat's export of a conversation: {messages: [{messageId, parentMessageId, isCreatedByUser, text, feedback?}]}.

An answer's `feedback` is {rating: thumbsUp or thumbsDown, tag?, text?}. Exported as a list of messages or, `recursive`,
as `messagesTree`, whose messages have `children`; one object a file. `error` marks an answer that failed.
https://www.librechat.ai/docs/features/import_convos
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from store.formats.columns import named, unknown
from store.formats.rows import (
    BadRow,
    LeftOut,
    Lost,
    Opinions,
    Parsed,
    comment_at,
    list_at,
    object_at,
    tags_of,
    text_at,
    words_at,
)
from store.formats.trees import Turn, judged

NAME = "librechat"
COLUMNS = frozenset({"messages", "messagesTree"})
THUMBS = {"thumbsUp": 1, "thumbsDown": -1}
FEEDBACK = frozenset({"rating", "tag", "text"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    messages = row.get("messagesTree" if "messagesTree" in row else "messages")
    return isinstance(messages, list) and any(isinstance(each, Mapping) and "messageId" in each for each in messages)


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed | Lost]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    turns: dict[str, Turn] = {}
    messages = list_at(row, "messages" if isinstance(row.get("messages"), list) else "messagesTree")
    for message, parent in _flat(messages):
        if isinstance(message.get("messageId"), str):
            turns[message["messageId"]] = _turn(message, parent)
    options = row.get("options")
    instructions = options.get("promptPrefix") if isinstance(options, Mapping) else None
    system = [{"role": "system", "content": text_at(object_at(row, "options"), "promptPrefix")}] if instructions else []
    user = row.get("user")
    return judged(turns, system, person=user if isinstance(user, str) and user else None)


def _flat(messages: list[Any]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Each message of a list or tree, with the id of the one that it hangs on in the tree."""
    waiting: list[tuple[Any, str | None]] = [(message, None) for message in messages[::-1]]
    while waiting:
        message, parent = waiting.pop()
        if not isinstance(message, Mapping):
            continue  # it has no id, so nothing can hang on it
        yield message, parent
        if message.get("children"):
            id = message.get("messageId")
            waiting += [(child, id if isinstance(id, str) else None) for child in list_at(message, "children")[::-1]]


def _turn(message: Mapping[str, Any], above: str | None) -> Turn:
    parent = message.get("parentMessageId")
    parent = parent if isinstance(parent, str) else above
    user = message.get("isCreatedByUser")
    opinions = () if user else _opinions(message)
    try:
        if not isinstance(user, bool):
            raise BadRow("isCreatedByUser is neither true nor false")
        if message.get("error") and not user:
            return Turn(parent, "assistant", "", opinions)
        if message.get("files"):
            raise LeftOut("it comes with a file or picture")
        # Newer answers are lists of parts, with an empty text beside them.
        content = text_at(message, "text") if message.get("text") or "content" not in message else _parts(message)
        return Turn(parent, "user" if user else "assistant", content, opinions)
    except (BadRow, LeftOut) as fault:
        return Turn(parent, "assistant" if opinions else "user", "", opinions, f"a message: {fault}")


def _parts(message: Mapping[str, Any]) -> str:
    if any(isinstance(part, Mapping) and part.get("type") == "error" for part in list_at(message, "content")):
        return ""
    # What the model thought before it answered, and the tools it called, are no words of the answer.
    parts = [part for part in list_at(message, "content") if isinstance(part, Mapping) and part.get("type") == "text"]
    texts = [{"text": part["text"].get("value")} if isinstance(part.get("text"), Mapping) else part for part in parts]
    return words_at({"content": texts}, "content")


def _opinions(message: Mapping[str, Any]) -> Opinions:
    if message.get("feedback") is None:
        return ()
    feedback = object_at(message, "feedback")
    if unread := unknown(feedback, FEEDBACK):
        raise BadRow(f"nothing here reads feedback's {named(unread)}")
    rating = feedback.get("rating")
    if rating is not None and (not isinstance(rating, str) or rating not in THUMBS):
        raise BadRow("feedback.rating is neither thumbsUp nor thumbsDown")
    tag = feedback.get("tag")
    tags = tags_of([tag.get("key") if isinstance(tag, Mapping) else tag])
    thumb: Opinions = () if rating is None else (("thumb", THUMBS[rating]),)
    return (*thumb, *tags, *comment_at(feedback, "text"))
