"""Conversations as trees of turns, as chat programs keep them: what was said of which answer, and to which prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from store.formats.rows import BadRow, LeftOut, Opinions, Parsed, ParsedAnswer, Turns, answered

DEPTH = 2000  # turns in one conversation


@dataclass(frozen=True)
class Turn:
    """A turn with what was said of it; `parent` is the id of the turn that it follows, None or unknown for a first."""

    parent: str | None
    role: str
    content: str
    opinions: Opinions = ()


def judged(turns: Mapping[str, Turn], system: Turns, last: str | None = None) -> list[Parsed]:
    """Each answer with opinions, after the turns that led to it; when there is none, the conversation down to `last`.

    Args:
        turns: by id.
        system: turns to put before the first one.
        last: the id of the turn shown last; when it is unknown, the last of `turns`.

    Raises:
        BadRow: turns that follow each other in a circle, an opinion on what is no answer.
        LeftOut: there is nothing said.
    """
    found: list[Parsed] = [answer(turns, id, system) for id, turn in turns.items() if turn.opinions]
    if found:
        return found
    path = system + path_to(turns, last if last in turns else next(reversed(list(turns)), None))
    while path and (path[-1]["role"] not in ("user", "assistant") or not path[-1]["content"].strip()):
        # An answer that was stopped before its first word.
        path = path[:-1]
    if not any(turn["role"] == "user" for turn in path):
        raise LeftOut("it is a conversation without a turn of the user")
    if path[-1]["role"] == "user":
        return [ParsedAnswer(path, None)]
    prompt, completion = answered(path, "the conversation")
    return [ParsedAnswer(prompt, completion)]


def answer(turns: Mapping[str, Turn], id: str, system: Turns) -> ParsedAnswer:
    """The answer with this id and what was said of it; raises as `judged` does."""
    prompt, completion = answered(system + path_to(turns, id), f"the rated turn {id[:40]}")
    # The path to the question names it, however the file numbers its turns.
    question = hashlib.sha256(repr([turns[id].parent, prompt]).encode("utf-8", "backslashreplace")).hexdigest()
    return ParsedAnswer(prompt, completion, turns[id].opinions, question)


def path_to(turns: Mapping[str, Turn], id: str | None) -> Turns:
    """The turns from the first one down to this one. BadRow when they go in a circle, or are too many."""
    path: Turns = []
    while id is not None and id in turns:
        if len(path) == DEPTH:
            raise BadRow(f"its turns follow each other in a circle, or are more than {DEPTH}")
        path.append({"role": turns[id].role, "content": turns[id].content})
        id = turns[id].parent
    return path[::-1]
