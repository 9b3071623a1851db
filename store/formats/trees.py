"""Conversations as trees of turns, as chat programs keep them: what was said of which answer, and to which prompt.

A damaged turn is damage only to what stands on its path: opinions on other branches are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from store.formats.rows import LeftOut, Lost, Opinions, Parsed, ParsedAnswer, Turns, answered

DEPTH = 2000  # turns in one conversation


@dataclass(frozen=True)
class Turn:
    """A turn with what was said of it.

    Attributes:
        parent: the id of the turn that it follows, None or unknown for a first.
        content: its words; of an answer that failed, or was stopped before its first word, there are none.
        fault: why its words cannot be read, or are not all that was said; None: they can.
    """

    parent: str | None
    role: str
    content: str
    opinions: Opinions = ()
    fault: str | None = None


def judged(
    turns: Mapping[str, Turn], system: Turns, last: str | None = None, person: str | None = None
) -> list[Parsed | Lost]:
    """Each answer with opinions, after the turns that led to it; when there is none, the conversation down to `last`.

    Args:
        turns: by id.
        system: turns to put before the first one.
        last: the id of the turn shown last; when it is unknown, the last of `turns`.
        person: whose opinions they are.

    Raises:
        LeftOut: there is nothing said, or nobody rated it and a turn of it cannot be read.
    """
    found: list[Parsed | Lost] = []
    for id, turn in turns.items():
        if turn.opinions:
            try:
                found.append(answer(turns, id, system, person))
            except LeftOut as left:
                found.append(Lost(str(left)))
    if found:
        return found
    path = system + path_to(turns, last if last in turns else next(reversed(list(turns)), None))
    while path and (path[-1]["role"] not in ("user", "assistant") or not path[-1]["content"].strip()):
        path = path[:-1]
    if not any(turn["role"] == "user" for turn in path):
        raise LeftOut("it is a conversation without a turn of the user")
    if path[-1]["role"] == "user":
        return [ParsedAnswer(path, None)]
    prompt, completion = answered(path, "the conversation")
    return [ParsedAnswer(prompt, completion)]


def answer(turns: Mapping[str, Turn], id: str, system: Turns, person: str | None = None) -> ParsedAnswer:
    """The answer with this id and what was said of it. LeftOut when it, or a turn that led to it, cannot be read."""
    if turns[id].role == "assistant" and turns[id].fault is None and not turns[id].content.strip():
        raise LeftOut("the rated answer has no words: it failed, or was stopped before the first one")
    prompt, completion = answered(system + path_to(turns, id), "the rated turn")
    # The path to the question names it, however the file numbers its turns.
    question = hashlib.sha256(repr([turns[id].parent, prompt]).encode("utf-8", "backslashreplace")).hexdigest()
    return ParsedAnswer(prompt, completion, turns[id].opinions, question, person)


def path_to(turns: Mapping[str, Turn], id: str | None) -> Turns:
    """The turns from the first one down to this one, without answers that have no words.

    Raises:
        LeftOut: one of them cannot be read, they go in a circle, or they are too many.
    """
    path: Turns = []
    length = 0
    while id is not None and id in turns:
        turn, length = turns[id], length + 1
        if length > DEPTH:
            raise LeftOut(f"its turns follow each other in a circle, or are more than {DEPTH}")
        if turn.fault is not None:
            raise LeftOut(turn.fault)
        if turn.role != "assistant" or turn.content.strip():
            path.append({"role": turn.role, "content": turn.content})
        id = turn.parent
    return path[::-1]
