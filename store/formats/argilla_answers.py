"""What a person's responses to Argilla's questions about one answer say, in the store's kinds.

A number is a score; a label good or bad (and words like these) a thumb, another label a tag, like each of a list; a
text is a correction when its question says so (correct, edit, rewrite, improve), else a comment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.rows import BadRow, LeftOut, Opinions, tags_of, text_at

GOOD = {"good", "yes", "up", "like", "liked", "positive", "thumbs up", "accepted", "correct", "true"}
BAD = {
    "bad",
    "no",
    "down",
    "dislike",
    "disliked",
    "negative",
    "thumbs down",
    "reject",
    "rejected",
    "incorrect",
    "false",
}
CORRECTIONS = ("correct", "edit", "rewrit", "improve")
COMMENTS = ("comment", "feedback", "reason", "explanation", "rationale", "note", "why")
LABEL = 40  # characters; a longer text is no label


def opinions_of(responses: Mapping[str, Any]) -> tuple[Opinions, list[str]]:
    """One person's opinions, each kind once, and why responses of theirs are none.

    The store keeps one score and one thumb of a person on an answer: the first question of each kind gives it, further
    ones become tags such as `honesty: 3`. BadRow on a value that is none of what Argilla's questions give.
    """
    found: dict[str, Any] = {}
    tags: list[str] = []
    lost: list[str] = []
    for question, value in responses.items():
        try:
            kind, told = _opinion(question, value)
        except LeftOut as left:
            lost.append(str(left))
            continue
        if kind == "tags":
            tags += told
        elif kind in found:
            tags.append(f"{question}: {value}"[:100])
        else:
            found[kind] = told
    return (*found.items(), *tags_of(list(tags))), lost


def _opinion(question: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "thumb", 1 if value else -1
    if isinstance(value, int | float):
        if value != value or not 1 <= value <= 10 or value != int(value):
            raise LeftOut(
                f"{question[:40]} is no whole number from 1 to 10, as scores are: Argilla's scales may go from 0"
            )
        return "score", int(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "tags", value
    if not isinstance(value, str):
        raise BadRow(f"{question[:40]} has a response that is no number, label, list of labels or text")
    text = text_at({question: value}, question)
    name, label = question.casefold(), text.strip().casefold().replace("_", " ").replace("-", " ")
    if any(word in name for word in CORRECTIONS) and label not in GOOD | BAD:
        return "correction", text
    if any(word in name for word in COMMENTS):
        return "comment", text
    if label in GOOD | BAD:
        return "thumb", 1 if label in GOOD else -1
    return ("tags", [text]) if len(text) <= LABEL else ("comment", text)
