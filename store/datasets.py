"""The frozen dataset of an update: present opinions as pairs and thumbs, prompts to answer, split and hashed.

Same store, same seed: same rows in the same order and the same hash. Scores, tags and comments are not frozen: how they
relate to preferences differs from person to person, so none is turned into a pair here.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from problems import Problem
from store.duplicates import near_duplicates
from store.imported import PERSON as IMPORTER
from store.opinions import Opinion, asked, opinions
from store.schema import Person
from store.scrub import Scrubber
from store.writers import all_or_none

TEXTS = ("first", "second", "answer")  # fields of the rows that hold an answer
FIRST_PEOPLE = 20  # who came first are never held out

Split = Literal["train", "holdout"]
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `outcome` 1.0: the first is better; 0.5: a tie. Never the other way: they are ordered.

    `kind`: pair (judged side by side), correction (what a person wrote, over the model's answer) or thumbs (one
    person's thumb up and thumb down on two answers to the same prompt).
    """

    messages: Messages
    first: str
    second: str
    outcome: float
    kind: str
    person: str
    conversation: str
    split: Split


@dataclass(frozen=True)
class Thumb:
    """One answer, liked or not. `kind`: thumb, or both_bad for either half of a pair where neither would do."""

    messages: Messages
    answer: str
    liked: bool
    kind: str
    person: str
    conversation: str
    split: Split


@dataclass(frozen=True)
class Score:
    """One answer and the score that a person gave it, 1 to 10."""

    messages: Messages
    answer: str
    score: int
    person: str
    conversation: str
    split: Split


@dataclass(frozen=True)
class Tagged:
    """One answer and the tags that a person gave it, sorted and distinct."""

    messages: Messages
    answer: str
    tags: list[str]
    person: str
    conversation: str
    split: Split


@dataclass(frozen=True)
class Prompt:
    """A prompt that somebody sent, once however often; `person` and `conversation` sent it first."""

    messages: Messages
    person: str
    conversation: str
    split: Split


RowOf = TypeVar("RowOf", Pair, Thumb, Prompt)


@dataclass(frozen=True)
class Frozen:
    """A dataset that never changes. `hash`: sha256, 64 hexadecimal digits, over all rows in their order.

    `left_out` counts rows by reason, `scrubbed` placeholders by field and kind of personal data.
    """

    hash: str
    pairs: list[Pair]
    thumbs: list[Thumb]
    prompts: list[Prompt]
    left_out: dict[str, int] = field(default_factory=dict)
    scrubbed: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_json(self, folder: Path) -> None:
        """Write pairs.jsonl, thumbs.jsonl, prompts.jsonl and dataset.json (the hash) into `folder`, made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("pairs", self.pairs), ("thumbs", self.thumbs), ("prompts", self.prompts)):
            (folder / f"{name}.jsonl").write_text("".join(f"{_line(row)}\n" for row in rows), encoding="utf-8")
        about = json.dumps({"hash": self.hash, "left_out": self.left_out, "scrubbed": self.scrubbed}, indent=1)
        (folder / "dataset.json").write_text(about, encoding="utf-8")

    @classmethod
    def from_json(cls, folder: Path) -> Frozen:
        """Read what `to_json` wrote. Problem when a file is missing or damaged, or the rows do not have the hash."""
        try:
            about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            pairs = [Pair(**row) for row in _rows(folder / "pairs.jsonl")]
            thumbs = [Thumb(**row) for row in _rows(folder / "thumbs.jsonl")]
            prompts = [Prompt(**row) for row in _rows(folder / "prompts.jsonl")]
            frozen = cls(about["hash"], pairs, thumbs, prompts, about["left_out"], about.get("scrubbed", {}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Problem(f"The dataset in {folder} cannot be read: {error}", hint="Freeze a new one.") from None
        if about.get("erased"):
            raise Problem(f"Rows of the dataset in {folder} were erased since.", hint="Start a new update.")
        if _hash(pairs, thumbs, prompts) != frozen.hash:
            raise Problem(f"The dataset in {folder} was changed: its rows lack its hash.", hint="Freeze a new one.")
        return frozen


def redact(folder: Path, person: str, conversations: set[str]) -> int:
    """Take the rows of a person, or of these conversations, out of a dataset that `to_json` wrote; returns how many.

    The dataset keeps its hash, as the record of what was learned from, and says how many rows were erased; it cannot
    be read as a whole one again.
    """
    removed = 0
    with all_or_none() as draft:
        for name in ("pairs", "thumbs", "prompts"):
            path = folder / f"{name}.jsonl"
            if not path.is_file():
                continue
            rows = _rows(path)
            kept = [row for row in rows if row["person"] != person and row["conversation"] not in conversations]
            if len(kept) < len(rows):
                removed += len(rows) - len(kept)
                draft.place(path).write_text("".join(f"{_line(row)}\n" for row in kept), encoding="utf-8")
        if removed:
            about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            about["erased"] = about.get("erased", 0) + removed
            draft.place(folder / "dataset.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return removed


def freeze(
    session: Session,
    *,
    seed: int,
    holdout_share: float = 0.15,
    holdout_people: float = 0.05,
    person_share: float = 1.0,
    scrub: bool = False,
) -> Frozen:
    """All present opinions of people who consent, on answers that have a text, and every prompt of theirs.

    What is held out stays so for ever, whatever else comes: a conversation by the words that it opened with, and, of
    those who came after the first twenty, a person by their id (with a handful of people, none can be spared). The seed
    decides the order of rows only. Training rows whose opening is nearly one that is held out are left out.

    Opposite thumbs of one person on two answers to one prompt count as thumbs and also as a pair of kind `thumbs`: how
    good each is and which is better are separate evidence. Where that person compared the two as well, the comparison
    counts instead of that pair. `both_bad` is two thumbs down, no pair.

    Args:
        holdout_share: of the openings.
        holdout_people: share of the people after the first twenty.
        person_share: of the training rows of a kind, at most, from one person, or an equal share where there are too
            few people for that; imports, which are files, are not counted.
        scrub: put placeholders in place of personal data; the split is by the words as they were said.

    `left_out` counts by reason: `straddling`, a row whose opening, conversation and people fall on different sides;
    `nearly held out`, a training row whose opening is nearly one that is held out; `one person's share`, above the cap;
    `different prompts`, a pair of answers to different prompts; `same text`, a pair of equal answers.
    """
    openings: dict[str, str] = {}
    prompts: dict[str, Prompt] = {}
    left_out: Counter[str] = Counter()
    held = _held_out_people(session, holdout_people)
    owners = {each.conversation: each.person for each in asked(session)} if held else {}

    def side(conversation: str, messages: Messages, person: str) -> Split | None:
        sides = {split_of(_opening(messages), holdout_share), split_of(openings[conversation], holdout_share)}
        if len(sides) > 1:
            left_out["straddling"] += 1
            return None
        mine = {person, owners.get(conversation, person)}
        if sides == {"train"} and mine & held:
            if mine <= held:
                return "holdout"
            left_out["straddling"] += 1
            return None
        return sides.pop()

    for each in asked(session):
        openings.setdefault(each.conversation, _opening(each.messages))
        key = _line(each.messages)
        if key not in prompts and (split := side(each.conversation, each.messages, each.person)):
            prompts[key] = Prompt(each.messages, each.person, each.conversation, split)

    pairs: list[Pair] = []
    thumbs: list[Thumb] = []
    compared: set[tuple[str, str, frozenset[str]]] = set()
    siblings: dict[tuple[str, str], list[tuple[Opinion, Split]]] = defaultdict(list)
    for opinion in opinions(session, ("thumb", "correction", "pair")):
        split = side(opinion.conversation, opinion.messages, opinion.person)
        if split is None:
            continue
        if opinion.kind == "thumb":
            thumbs.append(_thumb(opinion, opinion.text, opinion.value == 1, split))
            siblings[opinion.person, _line(opinion.messages)].append((opinion, split))
        elif opinion.kind == "correction":
            pairs.append(_pair(opinion, opinion.value, opinion.text, 1.0, split))
        elif opinion.messages != opinion.other_messages or opinion.other_text is None:
            left_out["different prompts"] += 1
        elif opinion.value == "both_bad":
            thumbs += [_thumb(opinion, text, False, split, "both_bad") for text in (opinion.text, opinion.other_text)]
        else:
            compared.add((opinion.person, _line(opinion.messages), frozenset((opinion.text, opinion.other_text))))
            ordered = (opinion.text, opinion.other_text)
            first, second = ordered[::-1] if opinion.value == "right" else ordered
            pairs.append(_pair(opinion, first, second, 0.5 if opinion.value == "tie" else 1.0, split))
    for group in siblings.values():
        liked = [each for each in group if each[0].value == 1]
        disliked = [each for each in group if each[0].value == -1]
        for (better, split), (worse, _) in product(liked, disliked):
            if (better.person, _line(better.messages), frozenset((better.text, worse.text))) not in compared:
                pairs.append(_pair(better, better.text, worse.text, 1.0, split, "thumbs"))

    near = _nearly_held_out([*pairs, *thumbs, *prompts.values()])
    scrubber = Scrubber() if scrub else None
    kept = _scrubbed(_apart(pairs, near, left_out), scrubber)
    telling = [pair for pair in kept if pair.first != pair.second]
    left_out["same text"] = len(kept) - len(telling)
    rows = (
        _capped(_ordered(telling, seed), person_share, left_out),
        _capped(_ordered(_scrubbed(_apart(thumbs, near, left_out), scrubber), seed), person_share, left_out),
        _ordered(_scrubbed(_apart(list(prompts.values()), near, left_out), scrubber), seed),
    )
    counted = {why: number for why, number in left_out.items() if number}
    return Frozen(_hash(*rows), *rows, left_out=counted, scrubbed=scrubber.total() if scrubber else {})


def _scrubbed(rows: list[RowOf], scrubber: Scrubber | None) -> list[RowOf]:
    """The rows with placeholders in place of personal data, where there is a scrubber."""
    if scrubber is None:
        return rows

    def clean(row: RowOf) -> RowOf:
        texts: dict[str, Any] = {name: scrubber.scrub(getattr(row, name), name) for name in TEXTS if hasattr(row, name)}
        return replace(row, messages=scrubber.scrub_turns(row.messages, "messages"), **texts)

    return [clean(row) for row in rows]


def _held_out_people(session: Session, share: float) -> set[str]:
    came = select(Person.id).where(Person.id != IMPORTER).order_by(Person.created, Person.id).offset(FIRST_PEOPLE)
    return {each for each in session.scalars(came) if _below(f"person {each}", share)}


def _nearly_held_out(rows: Sequence[Pair | Thumb | Prompt]) -> set[str]:
    """Openings of training rows that are near duplicates of openings of held-out rows."""
    sides: dict[Split, list[str]] = {"train": [], "holdout": []}
    for row in rows:
        sides[row.split].append(_opening(row.messages))
    trained, held = (sorted(set(sides[split])) for split in ("train", "holdout"))
    return {trained[place] for place in near_duplicates(trained, held)}


def _apart(rows: list[RowOf], near: set[str], left_out: Counter[str]) -> list[RowOf]:
    kept = [row for row in rows if row.split == "holdout" or _opening(row.messages) not in near]
    left_out["nearly held out"] += len(rows) - len(kept)
    return kept


def _capped(rows: list[RowOf], share: float, left_out: Counter[str]) -> list[RowOf]:
    """The rows without those of one person above their share of the training rows that are kept."""
    by_person = Counter(row.person for row in rows if row.split == "train" and row.person != IMPORTER)
    if not by_person:
        return rows
    share = max(share, 1 / len(by_person))
    # The largest cap c with c <= share * (sum of everybody's rows, none above c): found from above.
    cap = max(by_person.values())
    while cap > 1 and cap > share * sum(min(cap, count) for count in by_person.values()):
        cap -= 1
    taken: Counter[str] = Counter()
    kept: list[RowOf] = []
    for row in rows:
        if row.split == "train" and row.person != IMPORTER:
            taken[row.person] += 1
            if taken[row.person] > cap:
                left_out["one person's share"] += 1
                continue
        kept.append(row)
    return kept


def split_of(opening: str, holdout_share: float) -> Split:
    """The side on which a conversation that opens with these words falls; spacing, case and width do not matter."""
    words = " ".join(unicodedata.normalize("NFKC", opening).casefold().split())
    return "holdout" if _below(words, holdout_share) else "train"


def _below(key: str, share: float) -> bool:
    """True for that share of all keys, for ever the same ones; a larger share has all of a smaller one's."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") < share * 2**64


def _opening(messages: Messages) -> str:
    asked_first = next((each for each in messages if each.get("role") == "user"), messages[0] if messages else {})
    content = asked_first.get("content", "")
    return content if isinstance(content, str) else _line(content)


def _pair(opinion: Opinion, first: str, second: str, outcome: float, split: Split, kind: str | None = None) -> Pair:
    return Pair(
        opinion.messages, first, second, outcome, kind or opinion.kind, opinion.person, opinion.conversation, split
    )


def _thumb(opinion: Opinion, answer: str, liked: bool, split: Split, kind: str = "thumb") -> Thumb:
    return Thumb(opinion.messages, answer, liked, kind, opinion.person, opinion.conversation, split)


def _ordered(rows: Iterable[RowOf], seed: int) -> list[RowOf]:
    # Neither ids nor times decide: the order is one of the seed and of what the rows say.
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\n{_line(row)}".encode()).digest())


def _hash(pairs: list[Pair], thumbs: list[Thumb], prompts: list[Prompt]) -> str:
    digest = hashlib.sha256()
    for name, rows in (("pairs", pairs), ("thumbs", thumbs), ("prompts", prompts)):
        digest.update(f"{name}\n".encode())
        for row in rows:
            digest.update(f"{_line(row)}\n".encode())
    return digest.hexdigest()


def _line(value: Any) -> str:
    plain = vars(value) if isinstance(value, Pair | Thumb | Prompt) else value
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    # Split at "\n" alone: answers may hold other line ends, which JSON leaves as they are.
    return [json.loads(line) for line in path.read_bytes().decode("utf-8").split("\n") if line]
