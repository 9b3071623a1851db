"""Present opinions together with the words that they are about, for what leaves the store: datasets and exports.

Only people who consent: who gave the opinion, who asked, and whose conversation it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, select
from sqlalchemy.orm import Session, aliased

from store.schema import Conversation, Generation, Message, Person, Rating, present_ratings


@dataclass(frozen=True)
class Opinion:
    """A present rating with its words.

    Attributes:
        person: who gave it.
        messages: the prompt of the rated generation, as sent to the model.
        text: the rated answer; `other_text` that of a pair's second half, whose prompt is `other_messages`.
    """

    kind: str
    value: Any
    person: str
    conversation: str
    messages: list[dict[str, Any]]
    text: str
    other_messages: list[dict[str, Any]] | None
    other_text: str | None


def opinions(session: Session, kinds: Sequence[str], *, here: bool = False) -> Iterator[Opinion]:
    """Present opinions of these kinds by people who consent, on answers that have a text, in the order they were given.

    `here`: only opinions given here, not imported ones. Read a few at a time: memory does not grow with the store.
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
        )
        .join(present_ratings, present_ratings.c.id == Rating.id)
        .join(Generation, Generation.id == Rating.generation_id)
        .outerjoin(other, other.id == Rating.other_id)
        .where(Rating.kind.in_(kinds))
        .where(Rating.person_id.in_(_consenting()), _usable(Generation.person_id, Generation.conversation_id))
        .where(Rating.other_id.is_(None) | _usable(other.person_id, other.conversation_id))
        .order_by(Rating.id)
    )
    if here:
        query = query.where(Rating.surface != "import")
    for row in session.execute(query.execution_options(yield_per=500)):
        opinion = Opinion(*row)
        if opinion.text.strip() and (opinion.other_text is None or opinion.other_text.strip()):
            yield opinion


@dataclass(frozen=True)
class Asked:
    """A prompt that the model was sent, and whose it is."""

    person: str
    conversation: str
    messages: list[dict[str, Any]]


def asked(session: Session) -> Iterator[Asked]:
    """The prompt of every generation in conversations of people who consent, the oldest first; repeats included.

    After them, the imported conversations that have no generation: prompts that wait for an answer.
    """
    query = (
        select(Generation.person_id, Generation.conversation_id, Generation.messages)
        .where(_usable(Generation.person_id, Generation.conversation_id))
        .order_by(Generation.created, Generation.id)
    )
    for row in session.execute(query.execution_options(yield_per=500)):
        yield Asked(*row)
    waiting = (
        select(Conversation.person_id, Conversation.id, Message.role, Message.content)
        .join(Message, Message.conversation_id == Conversation.id)
        .where(Conversation.surface == "import", _usable(Conversation.person_id, Conversation.id))
        .where(~exists().where(Generation.conversation_id == Conversation.id))
        .order_by(Conversation.created, Conversation.id, Message.created, Message.id)
    )
    turns = session.execute(waiting.execution_options(yield_per=500))
    for (person, conversation), rows in groupby(turns, key=lambda row: (row[0], row[1])):
        yield Asked(person, conversation, [{"role": row[2], "content": row[3]} for row in rows])


def _consenting() -> Select[Any]:
    return select(Person.id).where(Person.consent)


def _usable(person: Any, conversation: Any) -> ColumnElement[bool]:
    owned = select(Conversation.id).where(Conversation.person_id.in_(_consenting()))
    return and_(person.in_(_consenting()), conversation.in_(owned))
