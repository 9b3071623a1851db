"""Feedback from other programs' files into the store: all of a file or nothing, and nothing twice.

What a row says becomes a conversation of the person `import`, with its prompt as turns, its answers as generations that
no version here gave, and opinions on them. Its ids follow from what it says: the same file makes the same store.

Rows are read, checked and stored a batch at a time in one transaction. Memory grows by about 200 bytes a row, to tell
one that stands twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from problems import Problem
from store.conversations import person
from store.database import Store
from store.exports import pairs_told, thumbs_told
from store.formats.files import read_rows
from store.formats.known import Format, format_of
from store.formats.rows import BadRow, LeftOut, Parsed, ParsedAnswer, shown
from store.imported import PERSON, ImportedRows, answer_id, said
from store.ratings import check_value
from store.schema import Conversation, now

CHUNK = 500  # rows stored together
WEIGHT = 4_000_000  # characters stored together
NAMED = 10_000  # rows whose faults are listed


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows: each was imported, skipped or a duplicate.

    `problems` says of each skipped row where it stands, and what is wrong with it or why there was nothing to keep; of
    more than 10,000, the first ones.
    """

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
    """Import a file of opinions on answers, or of conversations and prompts without any, in one transaction.

    Args:
        path: a JSON array or JSON lines, plain or gzip; Parquet, CSV or SQLite where the format's program writes it.
        format: the name of one of `store.formats.known.FORMATS`; auto: told from the first rows.
        skip_bad: leave bad rows out instead of refusing the file.
        progress: called with the number of rows stored, recognised or skipped so far.

    A row that the store holds already, imported or rated here, is a duplicate; one that stands twice in a file is two.
    A row with nothing to keep, such as an answer that nobody voted on, is skipped and never refuses the file.

    Raises:
        Problem: the file cannot be read, its format is unknown, or a row is bad; nothing is stored then.
    """
    chosen = format_of(path, format)
    faults = _Faults(path)
    with store.session() as session:
        job = _Import(session, progress)
        for place, row in read_rows(path):
            try:
                if isinstance(row, BadRow):
                    raise row
                parsed = _read(chosen, row)
            except LeftOut as left:
                faults.add(place, left)
                job.skip()
            except BadRow as bad:
                sentence = faults.add(place, bad)
                job.skip()
                if not skip_bad:
                    raise Problem(
                        sentence, hint="Mend the row, or leave bad rows out with --skip-bad. Nothing was stored."
                    ) from None
            else:
                job.add(parsed)
        job.flush()
    return ImportReport(job.imported, faults.number, job.duplicates, chosen.NAME, faults.told())


def _read(chosen: Format, row: Mapping[str, Any]) -> list[Parsed]:
    parsed = chosen.parse(row)
    for each in parsed:
        for kind, value in each.opinions if isinstance(each, ParsedAnswer) else ():
            try:
                check_value(kind, value)
            except Problem as problem:
                raise BadRow(str(problem).rstrip(".")) from None
    return parsed


class _Faults:
    """The rows that were not imported, each with its place and the reason."""

    def __init__(self, path: Path) -> None:
        self.number = 0
        self._path = path
        self._sentences: list[str] = []

    def add(self, place: str, why: Exception) -> str:
        """Note a row; what to say of it."""
        self.number += 1
        sentence = shown(f"{self._path}, {place}: {why}.")
        if self.number <= NAMED:
            self._sentences.append(sentence)
        return sentence

    def told(self) -> list[str]:
        """What to say of them all."""
        more = self.number - len(self._sentences)
        return self._sentences + ([f"{self._path}: {more} more rows were skipped."] if more else [])


class _Import:
    """One file on its way into the store, a batch of rows at a time."""

    def __init__(self, session: Session, progress: Callable[[int], None] | None) -> None:
        self.imported = 0
        self.duplicates = 0
        self._session = session
        self._progress = progress
        self._begun = now()
        self._next_message = time.time_ns()
        self._rows = 0
        self._stored = 0
        self._batch: list[list[tuple[str | None, Parsed]]] = []
        self._weight = 0
        self._seen: Counter[bytes] = Counter()
        # By question: the thumb, the generation, a hash of its text, and whether it is new.
        self._thumbs: defaultdict[bytes, list[tuple[int, str, bytes, bool]]] = defaultdict(list)
        person(session, PERSON)
        self._rated_here = Counter(_short(_content(each)) for each in _told_here(session))

    def skip(self) -> None:
        """A row that is not stored."""
        self._rows += 1

    def add(self, parsed: list[Parsed]) -> None:
        """A row; it is stored at once or with later ones."""
        self._rows += 1
        row: list[tuple[str | None, Parsed]] = []
        for each in parsed:
            content = _content(each)
            self._weight += len(content)
            key = _short(content)
            self._seen[key] += 1
            new = self._seen[key] > self._rated_here[key]
            row.append((_id(self._seen[key], content) if new else None, each))
        self._batch.append(row)
        if len(self._batch) == CHUNK or self._weight >= WEIGHT:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        held = self._held([id for row in self._batch for id, _ in row if id is not None])
        rows = ImportedRows(self._next_message)
        for row in self._batch:
            fresh = False
            for id, parsed in row:
                if id is None:
                    continue
                at = self._begun + timedelta(milliseconds=self._stored)
                if id not in held:
                    rows.add(id, parsed, at)
                    self._stored += 1
                    fresh = True
                if isinstance(parsed, ParsedAnswer) and parsed.question is not None:
                    for better, worse in self._opposed(id, parsed, id not in held):
                        rows.rating(better, "pair", "left", worse, at)
            self.imported += fresh
            self.duplicates += not fresh
        rows.insert(self._session)
        self._next_message = rows.next
        if self._progress is not None and (self._batch or not self._rows):
            self._progress(self._rows)
        self._batch, self._weight = [], 0

    def _held(self, ids: list[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(ids), CHUNK):
            query = select(Conversation.id).where(Conversation.id.in_(ids[start : start + CHUNK]))
            found.update(self._session.scalars(query))
        return found

    def _opposed(self, id: str, parsed: ParsedAnswer, fresh: bool) -> Iterator[tuple[str, str]]:
        """(liked, disliked) of this answer and earlier ones to the same question, where the store lacks that pair."""
        thumb = dict(parsed.opinions).get("thumb")
        if thumb is None or parsed.completion is None:
            return
        this, text = answer_id(id), _short(parsed.completion)
        others = self._thumbs[_short(f"{parsed.question}")]
        for value, other, other_text, other_fresh in others:
            if value == -thumb and other_text != text and (fresh or other_fresh):
                yield (this, other) if thumb == 1 else (other, this)
        others.append((thumb, this, text, fresh))


def _told_here(session: Session) -> Iterator[Parsed]:
    """What people said here, as the rows that an export would write: an export read back in adds nothing."""
    for told in (pairs_told(session, here=True), thumbs_told(session, here=True)):
        yield from (row for _, row in told if row is not None)


def _content(parsed: Parsed) -> str:
    return json.dumps(said(parsed), ensure_ascii=False, sort_keys=True)


def _short(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def _id(number: int, content: str) -> str:
    return hashlib.sha256(f"{number}\n{content}".encode()).hexdigest()[:32]
