"""Which rows of a dataset a model can learn from: the others are left out, counted and named.

People's files and API requests hold what a chat template refuses (a tool's turn, two answers in a row) and system
messages longer than any context. Such a row is no reason to learn from none: it is set aside here, once, before
anything is trained or measured on the dataset, so that reward model, rollouts, checks and gate all see the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lm.loading import Base
from lm.prompts import PromptTooLong, fit_chat
from problems import Problem
from reward.features import ANSWER_SHARE, raise_context
from store.frozen import Frozen

# Of the reward model's context, kept for the answer: a row whose prompt leaves less is left out.
ANSWER_LEAST = 0.25
NAMED = 10  # conversations that a message names; `--json` tells all
RATED_AS = {"thumbs": "thumb", "scores": "score", "tags": "tags"}  # kinds of ratings by kinds of rows


@dataclass(frozen=True)
class Reader:
    """Who reads prompts.

    Attributes:
        room: tokens that the shortest form of a prompt (system message and an empty last turn) may take.
        tightest: tokens that a prompt is shortened to, at the least; beyond `room` the answer gives way.
        raise_limit: what to do for more room.
    """

    room: int
    tightest: int
    raise_limit: str


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be read.

    Attributes:
        kind, row: its place in the dataset: a kind of `store.frozen.KINDS`, and the number in it.
        rating: kind of the rating that it is; empty for a prompt.
        messages: its prompt.
    """

    kind: str
    row: int
    conversation: str
    person: str
    rating: str
    messages: list[dict[str, Any]]
    reason: str


def reward_reader(base: Base, context: int) -> Reader:
    """The reward model as a reader of prompts; `context` is `reward.context`."""
    whole = min(context, base.context)
    room, tightest = (whole - int(whole * share) for share in (ANSWER_LEAST, ANSWER_SHARE))
    return Reader(room, tightest, raise_context(base, context))


def unreadable(base: Base, frozen: Frozen, readers: Sequence[Reader]) -> list[LeftOut]:
    """The rows that some reader cannot read, in their order."""
    # Whoever can be told a prompt in fewer tokens can be told it in more: `fit_chat` drops turn after turn.
    tightest, reader = min(each.tightest for each in readers), min(readers, key=lambda each: each.room)
    known: dict[str, str] = {}
    found = []
    for kind, rows in frozen.by_kind().items():
        for place, row in enumerate(rows):
            key = json.dumps(row.messages, sort_keys=True)
            if key not in known:
                known[key] = _refusal(base, row.messages, reader, tightest)
            if known[key]:
                rating = RATED_AS.get(kind, "") or str(getattr(row, "kind", "")).replace("thumbs", "thumb")
                found.append(LeftOut(kind, place, row.conversation, row.person, rating, row.messages, known[key]))
    return found


def without(frozen: Frozen, places: Iterable[tuple[str, int]]) -> Frozen:
    """The dataset without the rows at these places (kind, number); its hash stays, as the record of what was said."""
    gone = set(places)
    kept: dict[str, Any] = {
        kind: [row for place, row in enumerate(rows) if (kind, place) not in gone]
        for kind, rows in frozen.by_kind().items()
    }
    return replace(frozen, **kept)


def check_share(frozen: Frozen, left_out: Sequence[LeftOut], most: float) -> None:
    """Raise Problem, which names the conversations, where more than the share `most` of all rows is left out."""
    rows = sum(len(each) for each in frozen.by_kind().values())
    if len(left_out) <= most * rows:
        return
    told = summary(left_out)
    named = "\n".join(f"  {line}" for line in lines(told))
    raise Problem(
        f"The model cannot read {len(left_out)} of {rows} rows; update.max_left_out allows {most:.0%}.\n{named}",
        hint="Do as the reasons say, drop single ratings by `ratchet rating drop`, or raise update.max_left_out.",
        data={"left_out": told},
    )


def summary(left_out: Sequence[LeftOut], ratings: Sequence[Sequence[tuple[int, str]]] = ()) -> list[dict[str, Any]]:
    """What is left out, a conversation and reason once: `conversation`, `rows` (how many), `ratings`, `generations`
    (numbers and ids) and `reason`.

    Args:
        ratings: of each row the ratings that it may be of, from `store.single_rating.ratings_about`.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for place, each in enumerate(left_out):
        entry = found.setdefault(
            (each.conversation, each.reason),
            {
                "conversation": each.conversation,
                "rows": 0,
                "ratings": [],
                "generations": [],
                "reason": each.reason,
            },
        )
        entry["rows"] += 1
        about = ratings[place] if ratings else []
        entry["ratings"] = sorted({*entry["ratings"], *(number for number, _ in about)})
        entry["generations"] = sorted({*entry["generations"], *(generation for _, generation in about)})
    return list(found.values())


def lines(told: Sequence[Mapping[str, Any]]) -> list[str]:
    """A `summary` for people, the first conversations by name."""
    said = []
    for each in told[:NAMED]:
        ratings = f", ratings {', '.join(map(str, each['ratings']))}" if each["ratings"] else ""
        said.append(f"left out: conversation {each['conversation']}{ratings}: {each['reason']}")
    if len(told) > NAMED:
        said.append(f"left out: {len(told) - NAMED} conversations more; --json names them all")
    return said


def as_asked(left_out: Sequence[LeftOut]) -> list[dict[str, Any]]:
    """The rows as `store.single_rating.ratings_about` asks for them."""
    return [asdict(each) | {"kind": each.rating} for each in left_out]


def _refusal(base: Base, messages: list[dict[str, Any]], reader: Reader, tightest: int) -> str:
    """Why a prompt cannot be read; empty where it can."""
    try:
        fit_chat(base, messages, tightest)
    except PromptTooLong as error:
        if error.least <= reader.room:
            return ""
        return (
            f"The messages need {error.least} tokens before the last one's first word; there is room for "
            f"{reader.room}. Shorten the system message, or {reader.raise_limit}."
        )
    except Problem as problem:
        return str(problem)
    return ""
