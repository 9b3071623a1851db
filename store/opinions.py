"""Present opinions together with the words that they are about, for what leaves the store: datasets and exports.

Only people who consent: who gave the opinion, who asked, and whose conversation it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, not_, or_, select
from sqlalchemy.orm import Session, aliased

from store.schema import Conversation, Generation, Message, Person, Rating


@dataclass(frozen=True)
class Opinion:
    """A present rating with its words.

    Attributes:
        person: who gave it.
        messages: the prompt of the rated generation, as sent to the model.
        text: the rated answer; `other_text` that of a pair's second half, whose prompt is `other_messages`.
        created: when the opinion was given.
        draw: how the answer came to be shown, uniform or thompson; of a pair, where both halves agree; else None.
        surface: where the opinion was given: page, api or import.
    """

    kind: str
    value: Any
    person: str
    conversation: str
    messages: list[dict[str, Any]]
    text: str
    other_messages: list[dict[str, Any]] | None
    other_text: str | None
    created: datetime
    draw: str | None
    surface: str


def opinions(session: Session, kinds: Sequence[str], *, unkeyed: bool = False) -> Iterator[Opinion]:
    """Present opinions of these kinds by people who consent, on answers that have a text, in the order they were given.

    `unkeyed`: only those that an import does not know by the id of a row that says them alone: given here, or imported
    with a row that says more. Read a few at a time: memory does not grow with the store.
    """
    other = aliased(Generation)
    query = (
        select(
            Rating.kind,
            Rating.value,
            Rating.person_id,
            Generation.conversation_id,
            Generation.messages,
            Generation.text,
            other.messages,
            other.text,
            Rating.created,
            case((Rating.other_id.is_(None) | (Generation.draw == other.draw), Generation.draw)),
            Rating.surface,
        )
        .join(Generation, Generation.id == Rating.generation_id)
        .outerjoin(other, other.id == Rating.other_id)
        .where(Rating.kind.in_(kinds), _present())
        .where(_consents(Rating.person_id), _usable(Generation.person_id, Generation.conversation_id))
        .where(Rating.other_id.is_(None) | _usable(other.person_id, other.conversation_id))
        .order_by(Rating.id)
    )
    if unkeyed:
        query = query.where(_unkeyed())
    for row in session.execute(query.execution_options(yield_per=500)):
        opinion = Opinion(*row)
        if opinion.text.strip() and (opinion.other_text is None or opinion.other_text.strip()):
            yield opinion


def count_opinions(session: Session, kinds: Sequence[str]) -> int:
    """How many present opinions of these kinds there are, with consent or without."""
    return session.scalar(select(func.count()).select_from(Rating).where(Rating.kind.in_(kinds), _present())) or 0


@dataclass(frozen=True)
class Asked:
    """A prompt that the model was sent, whose it is, when it was answered, and where: page, api or import."""

    person: str
    conversation: str
    messages: list[dict[str, Any]]
    created: datetime
    surface: str


def asked(session: Session) -> Iterator[Asked]:
    """The prompt of every generation in conversations of people who consent, the oldest first; repeats included.

    After them, the imported conversations that have no generation: prompts that wait for an answer.
    """
    query = (
        select(
            Generation.person_id,
            Generation.conversation_id,
            Generation.messages,
            Generation.created,
            Generation.surface,
        )
        .where(_usable(Generation.person_id, Generation.conversation_id))
        .order_by(Generation.created, Generation.id)
    )
    for row in session.execute(query.execution_options(yield_per=500)):
        yield Asked(*row)
    waiting = (
        select(Conversation.person_id, Conversation.id, Conversation.created, Message.role, Message.content)
        .join(Message, Message.conversation_id == Conversation.id)
        .where(_waiting(), _usable(Conversation.person_id, Conversation.id))
        .order_by(Conversation.created, Conversation.id, Message.created, Message.id)
    )
    turns = session.execute(waiting.execution_options(yield_per=500))
    for (person, conversation, created), rows in groupby(turns, key=lambda row: tuple(row[:3])):
        yield Asked(person, conversation, [{"role": row[3], "content": row[4]} for row in rows], created, "import")


def count_asked(session: Session) -> int:
    """How many prompts were answered or wait for an answer, with consent or without; repeats included."""
    answered = session.scalar(select(func.count()).select_from(Generation)) or 0
    return answered + (session.scalar(select(func.count()).select_from(Conversation).where(_waiting())) or 0)


def _waiting() -> ColumnElement[bool]:
    """Imported conversations that have no generation."""
    return and_(Conversation.surface == "import", ~exists().where(Generation.conversation_id == Conversation.id))


def _present() -> ColumnElement[bool]:
    # What the view `present_ratings` says, told of one event at a time: the view ranks all events before it gives the
    # first, while this looks each one up in an index and leaves the order of ids as it is.
    later = aliased(Rating)
    overruled = exists().where(
        later.generation_id == Rating.generation_id,
        later.person_id == Rating.person_id,
        later.kind == Rating.kind,
        later.other_id.is_not_distinct_from(Rating.other_id),
        later.id > Rating.id,
    )
    return and_(not_(Rating.withdrawn), not_(overruled))


def _unkeyed() -> ColumnElement[bool]:
    beside = aliased(Rating)
    more = exists().where(beside.generation_id == Rating.generation_id, beside.id != Rating.id)
    return or_(
        Rating.surface != "import",
        Rating.kind == "correction",
        and_(Rating.kind == "pair", Generation.side.is_(None)),
        and_(Rating.kind == "thumb", more),
    )


def _consents(person: Any) -> ColumnElement[bool]:
    someone = aliased(Person)
    return exists().where(someone.id == person, someone.consent)


def _usable(person: Any, conversation: Any) -> ColumnElement[bool]:
    owned = aliased(Conversation)
    return and_(_consents(person), exists().where(owned.id == conversation, _consents(owned.person_id)))
