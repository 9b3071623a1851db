"""What a frozen dataset holds: each kind of evidence as its own kind, in a folder that can be told from a changed one.

Which rows a dataset gets: `store.datasets`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from problems import Problem
from store.writers import all_or_none

Split = Literal["train", "holdout"]
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `outcome` 1.0: the first is better; 0.5: a tie; 0.0: neither would do (both bad).

    Of a tie and of both-bad, first and second are in the order shown. `kind`: pair (judged side by side), correction
    (what a person wrote, over the model's answer) or thumbs (one person's thumb up and thumb down on two answers to the
    same prompt). `draw`: how the two came to be shown, uniform or thompson; uniform where nothing else is known.
    """

    messages: Messages
    first: str
    second: str
    outcome: float
    kind: str
    person: str
    conversation: str
    split: Split
    draw: str = "uniform"


@dataclass(frozen=True)
class Thumb:
    """One answer, liked or not. `kind`: thumb; as older versions froze, also both_bad, for half of such a pair."""

    messages: Messages
    answer: str
    liked: bool
    kind: str
    person: str
    conversation: str
    split: Split


@dataclass(frozen=True)
class Score:
    """One answer and the whole number from 1 to 10 that a person gave it."""

    messages: Messages
    answer: str
    score: int
    person: str
    conversation: str
    split: Split


@dataclass(frozen=True)
class Tagged:
    """One answer and what a person ticked about it: at least one tag, sorted, none twice."""

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


Row = Pair | Thumb | Score | Tagged | Prompt
# By the name of their file and of their field in `Frozen`, in the order in which they are hashed.
KINDS: dict[str, type[Any]] = {"pairs": Pair, "thumbs": Thumb, "prompts": Prompt, "scores": Score, "tags": Tagged}
LATER = ("scores", "tags")  # of which an older version wrote no files


@dataclass(frozen=True)
class Frozen:
    """A dataset that never changes. `hash`: sha256, 64 hexadecimal digits, over all rows in their order.

    `left_out` counts rows by reason, `scrubbed` placeholders by field and kind of personal data. `people`: how many
    there are (`people`, and `new` among them) and how many ratings new people gave (`new_ratings`; `new_learned`).
    """

    hash: str
    pairs: list[Pair]
    thumbs: list[Thumb]
    prompts: list[Prompt]
    scores: list[Score] = field(default_factory=list)
    tags: list[Tagged] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    scrubbed: dict[str, dict[str, int]] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)

    @property
    def ratings(self) -> int:
        """How many rows of evidence there are, of every kind: all but the prompts."""
        return len(self.pairs) + len(self.thumbs) + len(self.scores) + len(self.tags)

    def of_new_people(self) -> str:
        """What came from people whom nothing speaks for, in a sentence; empty where there are none."""
        new = self.people.get("new", 0)
        if not new:
            return ""
        given, learned = self.people["new_ratings"], self.people["new_learned"]
        return (
            f"{new} of {self.people['people']} people are new and nothing speaks for them: "
            f"{learned} of their {given} ratings are learned from"
        )

    def by_kind(self) -> dict[str, Sequence[Row]]:
        """Every row, by the names of `KINDS`."""
        return {name: getattr(self, name) for name in KINDS}

    def to_json(self, folder: Path) -> None:
        """Write `<kind>.jsonl` for each of `KINDS`, and dataset.json (the hash), into `folder`, made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.by_kind().items():
            (folder / f"{name}.jsonl").write_bytes(_lines(rows))
        names = ("hash", "left_out", "scrubbed", "people")
        about = json.dumps({name: getattr(self, name) for name in names}, indent=1)
        (folder / "dataset.json").write_text(about, encoding="utf-8")

    @classmethod
    def from_json(cls, folder: Path) -> Frozen:
        """Read what `to_json` wrote, or that of an older version, which froze neither scores nor tags.

        Raises:
            Problem: a file is missing or damaged, rows were erased, or the rows do not have the hash.
        """
        try:
            about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            written = {name: _written(folder / f"{name}.jsonl") for name in KINDS}
            rows: dict[str, Any] = {name: [kind(**row) for row in _rows(written[name])] for name, kind in KINDS.items()}
            told = {name: about.get(name, {}) for name in ("scrubbed", "people")}  # an older version knew neither
            frozen = cls(about["hash"], **rows, left_out=about["left_out"], **told)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Problem(f"The dataset in {folder} cannot be read: {error}", hint="Freeze a new one.") from None
        if about.get("erased"):
            raise Problem(f"Rows of the dataset in {folder} were erased since.", hint="Start a new update.")
        if _digest(written) != frozen.hash:
            raise Problem(f"The dataset in {folder} was changed: its rows lack its hash.", hint="Freeze a new one.")
        return frozen


def redact(folder: Path, person: str, conversations: set[str]) -> int:
    """Take the rows of a person, or of these conversations, out of a dataset that `to_json` wrote; returns how many.

    The dataset keeps its hash, as the record of what was learned from, and says how many rows were erased; it cannot
    be read as a whole one again.
    """
    removed = 0
    with all_or_none() as draft:
        for name in KINDS:
            path = folder / f"{name}.jsonl"
            if not path.is_file():
                continue
            rows = _rows(path.read_bytes())
            kept = [row for row in rows if row["person"] != person and row["conversation"] not in conversations]
            if len(kept) < len(rows):
                removed += len(rows) - len(kept)
                draft.place(path).write_bytes(_lines(kept))
        if removed:
            about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            about["erased"] = about.get("erased", 0) + removed
            draft.place(folder / "dataset.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return removed


def line(value: Any) -> str:
    """A row, or a JSON value, as one line: equal values give equal lines."""
    return json.dumps(vars(value) if isinstance(value, Row) else value, ensure_ascii=False, sort_keys=True)


def hash_of(rows: Mapping[str, Sequence[Row]]) -> str:
    """The hash of a dataset of these rows, by the names of `KINDS`."""
    return _digest({name: _lines(rows[name]) for name in KINDS})


def _digest(written: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in KINDS:
        if written[name] or name not in LATER:
            digest.update(f"{name}\n".encode() + written[name])
    return digest.hexdigest()


def _lines(rows: Iterable[Any]) -> bytes:
    return "".join(f"{line(row)}\n" for row in rows).encode()


def _written(path: Path) -> bytes:
    return b"" if path.stem in LATER and not path.exists() else path.read_bytes()


def _rows(written: bytes) -> list[dict[str, Any]]:
    # Split at "\n" alone: answers may hold other line ends, which JSON leaves as they are.
    return [json.loads(each) for each in written.decode("utf-8").split("\n") if each]
