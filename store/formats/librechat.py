"""LibreChat's export of a conversation: {messages: [{messageId, parentMessageId, isCreatedByUser, text, feedback?}]}.

An answer's `feedback` is {rating: thumbsUp or thumbsDown, tag?, text?}. Exported as a list of messages or as a tree
(`children`), one object a file. https://www.librechat.ai/docs/features/import_convos
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from store.formats.rows import BadRow, Opinions, Parsed, comment_at, list_at, object_at, tags_of, text_at, words_at
from store.formats.trees import Turn, judged

NAME = "librechat"
THUMBS = {"thumbsUp": 1, "thumbsDown": -1}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    messages = row.get("messages")
    return isinstance(messages, list) and any(isinstance(each, Mapping) and "messageId" in each for each in messages)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nothing was said."""
    turns: dict[str, Turn] = {}
    for message in _flat(list_at(row, "messages")):
        id = text_at(message, "messageId")
        turns[id] = _turn(message, id)
    options = row.get("options")
    instructions = options.get("promptPrefix") if isinstance(options, Mapping) else None
    system = [{"role": "system", "content": text_at(object_at(row, "options"), "promptPrefix")}] if instructions else []
    return judged(turns, system)


def _flat(messages: list[Any]) -> Iterator[Mapping[str, Any]]:
    waiting = messages[::-1]
    while waiting:
        message = waiting.pop()
        if not isinstance(message, Mapping):
            raise BadRow("messages holds what is no object")
        yield message
        if message.get("children"):
            waiting += list_at(message, "children")[::-1]


def _turn(message: Mapping[str, Any], id: str) -> Turn:
    try:
        if not isinstance(message.get("isCreatedByUser"), bool):
            raise BadRow("isCreatedByUser is neither true nor false")
        user = message["isCreatedByUser"]
        parent = text_at(message, "parentMessageId") if message.get("parentMessageId") is not None else None
        # Newer answers are lists of parts, with an empty text beside them.
        content = text_at(message, "text") if message.get("text") or "content" not in message else _parts(message)
        return Turn(parent, "user" if user else "assistant", content, () if user else _opinions(message))
    except BadRow as bad:
        raise BadRow(f"the message {id[:40]}: {bad}") from None


def _parts(message: Mapping[str, Any]) -> str:
    # What the model thought before it answered, and the tools it called, are no words of the answer.
    parts = [part for part in list_at(message, "content") if isinstance(part, Mapping) and part.get("type") == "text"]
    texts = [{"text": part["text"].get("value")} if isinstance(part.get("text"), Mapping) else part for part in parts]
    return words_at({"content": texts}, "content")


def _opinions(message: Mapping[str, Any]) -> Opinions:
    if message.get("feedback") is None:
        return ()
    feedback = object_at(message, "feedback")
    rating = feedback.get("rating")
    if rating is not None and (not isinstance(rating, str) or rating not in THUMBS):
        raise BadRow("feedback.rating is neither thumbsUp nor thumbsDown")
    tag = feedback.get("tag")
    tags = tags_of([tag.get("key") if isinstance(tag, Mapping) else tag])
    thumb: Opinions = () if rating is None else (("thumb", THUMBS[rating]),)
    return (*thumb, *tags, *comment_at(feedback, "text"))
