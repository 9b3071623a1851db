"""Feedback from other programs' files into the store: all of a file or nothing, and nothing twice.

What a row says becomes a conversation of the person `import`, or of a pseudonym of whom the file names, with its prompt
as turns, its answers as generations that no version here gave, and opinions on them. The ids of conversations follow
from what they say: the same file makes the same store, but for the pseudonyms, which are this store's own.

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
from store.formats.known import Format, format_of, read
from store.formats.rows import BadRow, LeftOut, Lost, Parsed, ParsedAnswer, shown
from store.formats.words import clean
from store.imported import PERSON, ImportedRows, answer_id, rater_id, said
from store.ratings import check_value
from store.salts import salt_of
from store.schema import Conversation, Generation, now

CHUNK = 500  # rows stored together
WEIGHT = 4_000_000  # characters stored together
NAMED = 10_000  # rows whose faults are listed
REASONS = 50  # reasons that are counted each on its own
OTHERS = "other reasons"


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows: each was imported, skipped or a duplicate.

    Attributes:
        problems: of each skipped row, and of each opinion that was not kept of a row that was, where it stands and why;
            of more than 10,000, the first ones.
        reasons: how many there are for each reason, the most frequent first.
    """

    imported: int
    skipped: int
    duplicates: int
    format: str
    problems: list[str] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)


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
        format: the name of one of `store.formats.known.FORMATS`, whose rows may then have columns that are not read;
            auto: told from the first rows, and a column that looks as if it said something of an answer must be read.
        skip_bad: leave bad rows out instead of refusing the file.
        progress: called with the number of rows stored, recognised or skipped so far.

    A row that the store holds already, imported or rated here, is a duplicate; one that stands twice in a file is two.
    A row from which nothing can be learned, such as an answer that nobody voted on or that failed, is skipped and never
    refuses the file.

    Raises:
        Problem: the file cannot be read, its format is unknown, or a row is bad; nothing is stored then.
    """
    chosen = format_of(path, format)
    faults = _Faults(path)
    with store.session() as session:
        job = _Import(session, chosen.NAME, progress)
        for place, row in read_rows(path):
            try:
                if isinstance(row, BadRow):
                    raise row
                parsed, lost = _read(chosen, row, format != "auto")
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
                for each in lost:
                    faults.add(place, LeftOut(each.reason), row=False)
                job.add(parsed)
        job.flush()
    return ImportReport(job.imported, faults.rows, job.duplicates, chosen.NAME, faults.told(), faults.reasons())


def _read(chosen: Format, row: Mapping[str, Any], named: bool) -> tuple[list[Parsed], list[Lost]]:
    parsed, lost = read(chosen, row, named_by_user=named)
    for each in parsed:
        for kind, value in each.opinions if isinstance(each, ParsedAnswer) else ():
            try:
                check_value(kind, value)
            except Problem as problem:
                raise BadRow(str(problem).rstrip(".")) from None
    return parsed, lost


class _Faults:
    """The rows that were not imported, and what was not of those that were, each with its place and the reason."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._sentences: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._more = 0

    def add(self, place: str, why: Exception, *, row: bool = True) -> str:
        """Note a row, or an opinion in it; what to say of it."""
        self.rows += row
        reason = shown(str(why))
        # A reason that names what stood in the row may be another one in each: no more of them than can be read.
        self._reasons[reason if reason in self._reasons or len(self._reasons) < REASONS else OTHERS] += 1
        sentence = f"{shown(str(self._path))}, {place}: {reason}."
        if len(self._sentences) < NAMED:
            self._sentences.append(sentence)
        else:
            self._more += 1
        return sentence

    def told(self) -> list[str]:
        """What to say of them all."""
        return self._sentences + ([f"{self._path}: {self._more} more rows were skipped."] if self._more else [])

    def reasons(self) -> dict[str, int]:
        """How many for each reason, the most frequent first."""
        return dict(self._reasons.most_common())


class _Import:
    """One file on its way into the store, a batch of rows at a time."""

    def __init__(self, session: Session, format: str, progress: Callable[[int], None] | None) -> None:
        self._salt = salt_of(session, "import").encode()
        self._format = format
        self._people: dict[str | None, str] = {}
        self.imported = 0
        self.duplicates = 0
        self._session = session
        self._progress = progress
        self._begun = now()
        self._next_message = time.time_ns()
        self._rows = 0
        self._stored = 0
        self._batch: list[list[tuple[str, bool, Parsed]]] = []
        self._weight = 0
        self._seen: Counter[bytes] = Counter()
        # By question: the thumb, the generation, a hash of its text, and whether it is new.
        self._thumbs: defaultdict[bytes, list[tuple[int, str, bytes, bool]]] = defaultdict(list)
        person(session, PERSON)
        self._told = Counter(_short(_content(each)) for each in _told_before(session))
        self._asked: Counter[bytes] | None = None

    def skip(self) -> None:
        """A row that is not stored."""
        self._rows += 1

    def add(self, parsed: list[Parsed]) -> None:
        """A row; it is stored at once or with later ones."""
        self._rows += 1
        row: list[tuple[str, bool, Parsed]] = []
        for each in parsed:
            content = _content(each)
            self._weight += len(content)
            key = _short(content)
            self._seen[key] += 1
            known = self._asked_before() if isinstance(each, ParsedAnswer) and each.completion is None else self._told
            row.append((_id(self._seen[key], content), self._seen[key] <= known[key], each))
        self._batch.append(row)
        if len(self._batch) == CHUNK or self._weight >= WEIGHT:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        held = self._held([id for row in self._batch for id, _, _ in row])
        rows = ImportedRows(self._next_message)
        for row in self._batch:
            fresh = False
            for id, known, parsed in row:
                if known and id not in held:
                    continue
                at = self._begun + timedelta(milliseconds=self._stored)
                whose = self._person(parsed.person)
                if id not in held:
                    rows.add(id, parsed, whose, at)
                    self._stored += 1
                    fresh = True
                if isinstance(parsed, ParsedAnswer) and parsed.question is not None:
                    for better, worse in self._opposed(id, parsed, id not in held):
                        rows.rating(better, "pair", "left", worse, whose, at)
            self.imported += fresh
            self.duplicates += not fresh
        rows.insert(self._session)
        self._next_message = rows.next
        if self._progress is not None and (self._batch or not self._rows):
            self._progress(self._rows)
        self._batch, self._weight = [], 0

    def _person(self, told: str | None) -> str:
        """The id of the person behind an opinion, who is in the store then."""
        if told is None:
            return PERSON
        if told not in self._people:
            self._people[told] = rater_id(self._salt, self._format, told)
            person(self._session, self._people[told])
        return self._people[told]

    def _asked_before(self) -> Counter[bytes]:
        """What was asked before this import, for rows that hold a prompt alone."""
        if self._asked is None:
            query = select(Generation.messages).where(Generation.created < self._begun)
            prompts = self._session.scalars(query.execution_options(yield_per=CHUNK))
            self._asked = Counter(_short(_content(_cleaned(ParsedAnswer(prompt, None)))) for prompt in prompts)
        return self._asked

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
        others = self._thumbs[_short(json.dumps([parsed.question, parsed.person]))]
        for value, other, other_text, other_fresh in others:
            if value == -thumb and other_text != text and (fresh or other_fresh):
                yield (this, other) if thumb == 1 else (other, this)
        others.append((thumb, this, text, fresh))


def _told_before(session: Session) -> Iterator[Parsed]:
    """What the store holds, as the rows that an export would write: an export read back in adds nothing.

    Without what came in as such a row, which is known by its id.
    """
    for told in (pairs_told(session, unkeyed=True), thumbs_told(session, unkeyed=True)):
        yield from (_cleaned(row) for _, row in told if row is not None)


def _cleaned(parsed: Parsed) -> Parsed:
    """A row of the store as it would be read from a file; as it is, where nothing of it could be learned from one."""
    try:
        return clean(parsed)
    except LeftOut:
        return parsed


def _content(parsed: Parsed) -> str:
    return json.dumps(said(parsed), ensure_ascii=False, sort_keys=True)


def _short(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def _id(number: int, content: str) -> str:
    return hashlib.sha256(f"{number}\n{content}".encode()).hexdigest()[:32]
