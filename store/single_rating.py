"""A single rating: shown with its words, and dropped by the operator.

Dropping adds an event that withdraws the rating, as its person could have done, and an audit row; nothing is removed.
To remove words, erase the person (`store.people`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import check_short, known
from store.ratings import present
from store.schema import Audit, Generation, Rating, Serving

OPERATOR = "operator"  # the surface of what the operator withdrew


@dataclass(frozen=True)
class Shown:
    """A rating with its words.

    Attributes:
        id: number of the event.
        present: whether it is its person's opinion now; False once it was changed or withdrawn.
        messages, answer: what was asked, and the rated answer.
        other, other_answer: of a pair, the other generation and its answer.
    """

    id: int
    kind: str
    value: Any
    person: str
    surface: str
    created: str
    present: bool
    conversation: str
    generation: str
    messages: list[dict[str, Any]]
    answer: str
    other: str | None
    other_answer: str | None


def show_rating(session: Session, rating_id: int) -> Shown:
    """The rating of this number. Problem if there is none."""
    event = known(session, Rating, rating_id, "rating")
    generation = session.get_one(Generation, event.generation_id)
    other = session.get_one(Generation, event.other_id) if event.other_id else None
    return Shown(
        id=event.id,
        kind=event.kind,
        value=event.value,
        person=event.person_id,
        surface=event.surface,
        created=event.created.isoformat(),
        present=_holds(session, event),
        conversation=generation.conversation_id,
        generation=generation.id,
        messages=generation.messages,
        answer=generation.text,
        other=None if other is None else other.id,
        other_answer=None if other is None else other.text,
    )


def drop_rating(session: Session, rating_id: int, who: str, reason: str = "") -> Audit:
    """Withdraw a rating in the operator's name: no later dataset holds it. The audit row says who and which.

    Raises:
        Problem: there is no such rating; it does not hold any more (status 3).
    """
    check_short(who, "who")
    event = known(session, Rating, rating_id, "rating")
    if not _holds(session, event):
        raise Problem(
            f"Rating {rating_id} does not hold any more: it was changed or withdrawn.",
            hint="`ratchet rating show` says what holds.",
            status=3,
        )
    withdrawal = {"kind": event.kind, "value": None, "withdrawn": True, "surface": OPERATOR}
    subject = {"generation_id": event.generation_id, "person_id": event.person_id, "other_id": event.other_id}
    session.add(Rating(**subject, **withdrawal))
    pointer = session.get(Serving, 1)
    serves = None if pointer is None else pointer.version_id
    said = f"rating {rating_id}, {event.kind} by {event.person_id} on {event.generation_id}"
    row = Audit(who=who, action="drop rating", from_version=serves, to_version=serves, reason=_joined(said, reason))
    session.add(row)
    session.flush()
    return row


def ratings_about(session: Session, rows: Iterable[Mapping[str, Any]]) -> list[list[tuple[int, str]]]:
    """For each row (`conversation`, `person`, `kind`, `messages`) the present ratings that it may be of.

    A frozen row keeps no number of its rating, so that its hash hangs on what was said alone. Conversation, person,
    kind and the roles of its messages lead back: (number of the rating, its generation).
    """
    found = []
    for row in rows:
        query = (
            select(Rating, Generation.messages)
            .join(Generation, Generation.id == Rating.generation_id)
            .where(Generation.conversation_id == row["conversation"])
            .where(Rating.person_id == row["person"], Rating.kind == row["kind"])
            .order_by(Rating.id)
        )
        roles = [message.get("role") for message in row["messages"]]
        about = [
            (event.id, event.generation_id)
            for event, messages in session.execute(query)
            if [message.get("role") for message in messages] == roles and _holds(session, event)
        ]
        found.append(about)
    return found


def _holds(session: Session, event: Rating) -> bool:
    return any(each.id == event.id for each in present(session, event.generation_id, event.person_id))


def _joined(said: str, reason: str) -> str:
    return f"{said}: {reason}" if reason else said
