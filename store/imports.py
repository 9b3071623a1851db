"""Feedback from other programs' files into the store: all of a file or nothing, and nothing twice.

A row becomes a conversation of the person `import`, with its prompt as turns, its answers as generations that no
version here gave, and an opinion on them. Its ids follow from what it says: the same file makes the same store.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from problems import Problem
from store.conversations import person
from store.database import Store
from store.exports import pairs_told, thumbs_told
from store.formats import alpaca, sharegpt, trl_preference, trl_unpaired
from store.formats.files import read_rows
from store.formats.rows import BadRow, Parsed, ParsedPair, ParsedThumb
from store.ratings import check_value
from store.schema import Conversation, Tables, new_id, now

PERSON = "import"
CHUNK = 500
LOOK_AT = 100  # rows that are looked at to tell a format


class Format(Protocol):
    """What a module in `store.formats` offers."""

    NAME: str

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the row looks like one of this format."""

    def parse(self, row: Mapping[str, Any]) -> Parsed:
        """Read a row; BadRow says what is wrong with it."""


FORMATS: tuple[Format, ...] = (sharegpt, alpaca, trl_preference, trl_unpaired)


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows. `problems` says of each skipped row where it stands and what is wrong with it."""

    imported: int
    skipped: int
    duplicates: int
    format: str
    problems: list[str] = field(default_factory=list)


def import_file(
    store: Store,
    path: Path,
    format: str = "auto",
    skip_bad: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import a file of preferences or of liked and disliked answers, in one transaction.

    Args:
        path: a JSON array or JSON lines, plain or gzip.
        format: one of trl-preference, trl-unpaired, sharegpt, alpaca; auto: told from the first rows.
        skip_bad: leave bad rows out instead of refusing the file.
        progress: called with the number of rows stored or recognised so far.

    A row that the store holds already, imported or rated here, is a duplicate; one that stands twice in a file is two.

    Raises:
        Problem: the file cannot be read, its format is unknown, or a row is bad; nothing is stored then.
    """
    rows = list(read_rows(path))
    if not rows:
        raise Problem(f"{path} holds no rows.", hint="Check that it is the file you mean.")
    readable = [row for _, row in rows if isinstance(row, dict)]
    if not readable:
        raise Problem(
            f"{path}, {rows[0][0]}: {rows[0][1]}.", hint="No row of the file can be read; nothing was stored."
        )
    chosen = _format(path, format, readable)
    parsed: list[Parsed] = []
    problems: list[str] = []
    for place, row in rows:
        try:
            if isinstance(row, BadRow):
                raise row
            parsed.append(chosen.parse(row))
        except BadRow as bad:
            problems.append(f"{path}, {place}: {bad}.")
            if not skip_bad:
                raise Problem(
                    problems[0], hint="Mend the row, or leave bad rows out with --skip-bad. Nothing was stored."
                ) from None
    with store.session() as session:
        imported = _add(session, parsed, progress)
    return ImportReport(imported, len(problems), len(parsed) - imported, chosen.NAME, problems)


def _format(path: Path, name: str, rows: list[dict[str, Any]]) -> Format:
    known = ", ".join(each.NAME for each in FORMATS)
    if name != "auto":
        found = next((each for each in FORMATS if name == each.NAME), None)
        if found is None:
            raise Problem(f"There is no format {name!r}.", hint=f"Use auto or one of: {known}.", status=2)
        return found
    for row in islice(rows, LOOK_AT):
        for each in FORMATS:
            if each.matches(row):
                return each
    keys = ", ".join(list(rows[0])[:8])[:200].encode("utf-8", "backslashreplace").decode() or "no fields"
    raise Problem(f"{path} is of no known format: its rows have {keys}.", hint=f"Known formats: {known}.")


def _add(session: Session, parsed: list[Parsed], progress: Callable[[int], None] | None) -> int:
    person(session, PERSON)
    rated_here = Counter(_content(each) for each in _told_here(session))
    seen: Counter[str] = Counter()
    imported = 0
    begun = now()
    for start in range(0, len(parsed), CHUNK):
        fresh: dict[str, Parsed] = {}
        for each in parsed[start : start + CHUNK]:
            content = _content(each)
            seen[content] += 1
            if seen[content] > rated_here[content]:
                fresh[hashlib.sha256(f"{seen[content]}\n{content}".encode()).hexdigest()[:32]] = each
        for held in session.scalars(select(Conversation.id).where(Conversation.id.in_(fresh))):
            del fresh[held]
        rows = _Rows()
        for place, (id, each) in enumerate(fresh.items()):
            rows.add(id, each, begun + timedelta(milliseconds=start + place))
        rows.insert(session)
        imported += len(fresh)
        if progress is not None:
            progress(min(start + CHUNK, len(parsed)))
    return imported


def _told_here(session: Session) -> Iterator[Parsed]:
    """What people said here, as the rows that an export would write: an export read back in adds nothing."""
    for told in (pairs_told(session, here=True), thumbs_told(session, here=True)):
        yield from (row for _, row in told if row is not None)


def _content(parsed: Parsed) -> str:
    return json.dumps([type(parsed).__name__, vars(parsed)], ensure_ascii=False, sort_keys=True)


class _Rows:
    """Table rows of several parsed rows, inserted together, in the order of their keys."""

    def __init__(self) -> None:
        self.conversations: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.generations: list[dict[str, Any]] = []
        self.ratings: list[dict[str, Any]] = []

    def add(self, id: str, parsed: Parsed, at: Any) -> None:
        self.conversations.append({"id": id, "person_id": PERSON, "surface": "import", "created": at})
        parent: str | None = None
        for depth, turn in enumerate(parsed.prompt):
            parent = self._message(id, parent, turn["role"], turn["content"], None, at + timedelta(microseconds=depth))
        end = at + timedelta(microseconds=len(parsed.prompt))
        if isinstance(parsed, ParsedPair):
            first = self._answer(id, parent, parsed.prompt, parsed.chosen, "left", end)
            second = self._answer(id, parent, parsed.prompt, parsed.rejected, "right", end + timedelta(microseconds=1))
            self._rating(first, "pair", "left", second, end)
        elif isinstance(parsed, ParsedThumb):
            answer = self._answer(id, parent, parsed.prompt, parsed.completion, None, end)
            self._rating(answer, "thumb", 1 if parsed.label else -1, None, end)

    def insert(self, session: Session) -> None:
        for table, rows in (
            ("conversations", self.conversations),
            ("generations", self.generations),
            ("messages", self.messages),
            ("ratings", self.ratings),
        ):
            if rows:
                # By table, not by class: rows of a class are sent in groups with the same columns empty, which is slow.
                session.execute(insert(Tables.metadata.tables[table]), rows)

    def _message(
        self, conversation: str, parent: str | None, role: str, content: str, generation: str | None, at: Any
    ) -> str:
        message = {"id": new_id(), "conversation_id": conversation, "parent_id": parent, "role": role}
        self.messages.append(message | {"content": content, "generation_id": generation, "created": at})
        return message["id"] or ""

    def _answer(
        self, conversation: str, parent: str | None, prompt: list[dict[str, str]], text: str, side: str | None, at: Any
    ) -> str:
        id = f"gen-{hashlib.sha256(f'{conversation} {side}'.encode()).hexdigest()[:24]}"
        self.generations.append(
            {
                "id": id,
                "person_id": PERSON,
                "conversation_id": conversation,
                "messages": prompt,
                "version_id": None,
                "adapter_hash": None,
                "sampling": {},
                "token_ids": [],
                "logprobs": [],
                "text": text,
                "finish_reason": "stop",
                "surface": "import",
                "latency": 0.0,
                "pair": None if side is None else conversation,
                "side": side,
                "propensity": None,
                "created": at,
            }
        )
        self._message(conversation, parent, "assistant", text, id, at)
        return id

    def _rating(self, generation: str, kind: str, value: Any, other: str | None, at: Any) -> None:
        check_value(kind, value)
        rating = {"generation_id": generation, "person_id": PERSON, "kind": kind, "value": value, "other_id": other}
        self.ratings.append(rating | {"withdrawn": False, "surface": "import", "created": at})
