"""How what a file says stands in the tables: a conversation, its turns, its answers as generations, opinions on them.

No version here gave these answers: their generations have no version, tokens or log-probabilities.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from store.formats.rows import Parsed, ParsedAnswer, ParsedDraw, ParsedPair, ParsedThumb, Turns
from store.schema import Tables

PERSON = "import"
SURFACE = "import"  # of what an import brought, whoever it is said to be of
BESIDE = ("question", "person")  # where a row stands and whose it is, not what it says
RATER = f"{PERSON}:"  # how the ids of people begin whom a file tells apart


def is_imported(person_id: str) -> bool:
    """Whether this is the person `import`, or somebody whom a file tells apart."""
    return person_id == PERSON or person_id.startswith(RATER)


def rater_id(salt: bytes, format: str, person: str | None) -> str:
    """The id of the person behind an imported opinion: a pseudonym of who the file says they are, `import` for nobody.

    The same person of one format is one person, whatever the file; of two formats, two: their ids may mean others.
    """
    if person is None:
        return PERSON
    told = json.dumps([format.removesuffix("-chats").removesuffix("-feedback"), person])
    return RATER + hmac.new(salt, told.encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()[:24]


def answer_id(conversation: str, side: str | None = None) -> str:
    """The id of the generation that an imported conversation gets; of a pair, of that side."""
    return f"gen-{hashlib.sha256(f'{conversation} {side}'.encode()).hexdigest()[:24]}"


class ImportedRows:
    """Table rows of several parsed rows, inserted together, in the order of their keys.

    Messages get ids that grow with time, from `first` on: a large import then appends to the indexes of that largest
    table instead of writing all over them. Two of them are never made in one nanosecond, so none comes twice.
    """

    def __init__(self, first: int) -> None:
        self.next = first
        self.conversations: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.generations: list[dict[str, Any]] = []
        self.ratings: list[dict[str, Any]] = []

    def add(self, id: str, parsed: Parsed, person: str, at: datetime) -> None:
        """A conversation of this person with this id, begun at that time."""
        self.conversations.append({"id": id, "person_id": person, "surface": SURFACE, "created": at})
        parent: str | None = None
        for depth, turn in enumerate(parsed.prompt):
            parent = self._message(id, parent, turn["role"], turn["content"], None, at + timedelta(microseconds=depth))
        end = at + timedelta(microseconds=len(parsed.prompt))
        if isinstance(parsed, ParsedPair):
            self._compared(id, parent, parsed.prompt, parsed.chosen, parsed.rejected, "left", person, end)
        elif isinstance(parsed, ParsedDraw):
            self._compared(id, parent, parsed.prompt, parsed.left, parsed.right, parsed.verdict, person, end)
        elif isinstance(parsed, ParsedThumb):
            answer = self._answer(id, parent, parsed.prompt, parsed.completion, None, person, end)
            self.rating(answer, "thumb", 1 if parsed.label else -1, None, person, end)
        elif parsed.completion is not None:
            answer = self._answer(id, parent, parsed.prompt, parsed.completion, None, person, end)
            for kind, value in parsed.opinions:
                self.rating(answer, kind, value, None, person, end)

    def rating(self, generation: str, kind: str, value: Any, other: str | None, person: str, at: datetime) -> None:
        """An opinion, whose value was checked before, on a generation of these rows or of the store."""
        rating = {"generation_id": generation, "person_id": person, "kind": kind, "value": value, "other_id": other}
        self.ratings.append(rating | {"withdrawn": False, "surface": SURFACE, "created": at})

    def insert(self, session: Session) -> None:
        """Put them into the tables."""
        for table, rows in (
            ("conversations", self.conversations),
            ("generations", self.generations),
            ("messages", self.messages),
            ("ratings", self.ratings),
        ):
            if rows:
                # By table, not by class: rows of a class are sent in groups with the same columns empty, which is slow.
                session.execute(insert(Tables.metadata.tables[table]), rows)

    def _compared(
        self, id: str, parent: str | None, prompt: Turns, left: str, right: str, verdict: str, person: str, at: datetime
    ) -> None:
        first = self._answer(id, parent, prompt, left, "left", person, at)
        second = self._answer(id, parent, prompt, right, "right", person, at + timedelta(microseconds=1))
        self.rating(first, "pair", verdict, second, person, at)

    def _message(
        self, conversation: str, parent: str | None, role: str, content: str, generation: str | None, at: datetime
    ) -> str:
        id = f"{self.next:016x}"
        self.next += 1
        message = {"id": id, "conversation_id": conversation, "parent_id": parent, "role": role}
        self.messages.append(message | {"content": content, "generation_id": generation, "created": at})
        return id

    def _answer(
        self,
        conversation: str,
        parent: str | None,
        prompt: Turns,
        text: str,
        side: str | None,
        person: str,
        at: datetime,
    ) -> str:
        id = answer_id(conversation, side)
        self.generations.append(
            {
                "id": id,
                "person_id": person,
                "conversation_id": conversation,
                "messages": prompt,
                "version_id": None,
                "adapter_hash": None,
                "sampling": {},
                "token_ids": [],
                "logprobs": [],
                "text": text,
                "finish_reason": "stop",
                "surface": SURFACE,
                "latency": 0.0,
                "pair": None if side is None else conversation,
                "side": side,
                "propensity": None,
                "draw": None,
                "created": at,
            }
        )
        self._message(conversation, parent, "assistant", text, id, at)
        return id


def said(parsed: Parsed) -> list[Any]:
    """What a parsed row says, as JSON values: equal for rows that say the same, whatever format they came in."""
    if isinstance(parsed, ParsedAnswer):
        if parsed.completion is not None and len(parsed.opinions) == 1 and parsed.opinions[0][0] == "thumb":
            return said(ParsedThumb(parsed.prompt, parsed.completion, parsed.opinions[0][1] == 1))
        return ["ParsedAnswer", {name: value for name, value in vars(parsed).items() if name not in BESIDE}]
    return [type(parsed).__name__, {name: value for name, value in vars(parsed).items() if name not in BESIDE}]
