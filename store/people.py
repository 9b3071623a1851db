"""What the store holds of a person: shown, handed out, and erased.

Erasing takes a person's words and ratings out of every row, wherever they stand, and leaves the ids as tombstones, so
that nothing else loses its place. What they said is taken out of the frozen datasets of earlier updates as well, and
each version that was trained on it, or on a version that was, is flagged: weights cannot be made to forget.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Delete, Update, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import known
from store.database import Store
from store.frozen import Frozen, redact
from store.keys import keys_of, revoke_keys_of
from store.schema import Conversation, Generation, Message, Person, Rating, TrainedOn, Version, now
from store.updates import finish_update, unfinished, update_lock

REPLAYED = "replay.safetensors"  # prompts and answers as token ids, which an update trains beside


@dataclass(frozen=True)
class Holdings:
    """How much the store holds of a person, the ids of their keys in force, and which versions learned from them."""

    id: str
    name: str | None
    consent: bool
    erased: bool
    conversations: int
    messages: int
    generations: int
    ratings: dict[str, int]
    keys: list[str]
    versions: list[int]


@dataclass(frozen=True)
class Erasure:
    """What an erasure took out: rows by table, rows of frozen datasets, and the versions that are flagged by it."""

    id: str
    messages: int
    generations: int
    ratings: int
    dataset_rows: int
    versions: list[int]


def find_person(session: Session, id_or_name: str) -> Person:
    """The person of that id, else of that name. Problem if there is none."""
    found = session.get(Person, id_or_name) or session.scalar(select(Person).where(Person.name == id_or_name))
    if found is None:
        raise Problem(f"There is no person {id_or_name}.", hint="List them with `ratchet person list`.")
    return found


def list_people(session: Session) -> list[Person]:
    """Everybody, in the order in which they came."""
    return list(session.scalars(select(Person).order_by(Person.created, Person.id)))


def holdings(session: Session, person_id: str) -> Holdings:
    """Counts of what the store holds of a person. Problem if there is no such person."""
    found = known(session, Person, person_id, "person")

    def count(query: Any) -> int:
        return session.scalar(select(func.count()).select_from(query.subquery())) or 0

    kinds = select(Rating.kind, func.count()).where(Rating.person_id == person_id).group_by(Rating.kind)
    return Holdings(
        id=found.id,
        name=found.name,
        consent=found.consent,
        erased=found.erased is not None,
        conversations=count(select(Conversation.id).where(Conversation.person_id == person_id)),
        messages=count(select(Message.id).where(_their_messages(person_id))),
        generations=count(select(Generation.id).where(_their_generations(person_id))),
        ratings={row[0]: row[1] for row in session.execute(kinds)},
        keys=[key.id for key in keys_of(session, person_id) if key.revoked is None],
        versions=sorted(_trained_with(session, [person_id])),
    )


def everything_of(session: Session, person_id: str) -> dict[str, Any]:
    """All that the store holds of a person, as JSON: themselves, conversations, generations, ratings, keys, versions.

    Of a key everything but the hashes, which would be of use to a thief alone.
    """
    found = known(session, Person, person_id, "person")
    conversations = session.scalars(select(Conversation).where(Conversation.person_id == person_id))
    messages = session.scalars(select(Message).where(_their_messages(person_id)).order_by(Message.created, Message.id))
    generations = session.scalars(
        select(Generation).where(_their_generations(person_id)).order_by(Generation.created, Generation.id)
    )
    ratings = session.scalars(select(Rating).where(Rating.person_id == person_id).order_by(Rating.id))
    return {
        "person": _plain(found),
        "conversations": [_plain(each) for each in conversations],
        "messages": [_plain(each) for each in messages],
        "generations": [_plain(each) for each in generations],
        "ratings": [_plain(each) for each in ratings],
        "keys": [_plain(each, without=("digest", "page_digest")) for each in keys_of(session, person_id)],
        "versions": sorted(_trained_with(session, [person_id])),
    }


def erase(store: Store, person_id: str) -> Erasure:
    """Erase a person: their words and ratings, and what others wrote about their answers. Not to be undone.

    Thumbs, scores and verdicts of others stay, on answers that have no text any more, so they count for nothing; their
    comments, tags and corrections on those answers go, since they may quote. An unfinished update that learned from the
    person ends as failed. What ended updates replayed goes whole, since only a training needs it and token ids are
    words too; so do their unfinished steps. Their keys are revoked and lose their names. The database is compacted, so
    that no byte of the words is left in its file; copies that stand elsewhere (backups, exports) are out of reach.

    Raises:
        Problem: there is no such person, or an update is running.
    """
    with update_lock(store):
        with store.session() as session:
            found = known(session, Person, person_id, "person")
            theirs = select(Generation.id).where(_their_generations(person_id)).scalar_subquery()
            conversations = set(
                session.scalars(select(Generation.conversation_id).where(_their_generations(person_id)))
            ) | set(session.scalars(select(Conversation.id).where(Conversation.person_id == person_id)))
            gone = _changed(session, delete(Rating).where(Rating.person_id == person_id))
            quoting = or_(Rating.generation_id.in_(theirs), Rating.other_id.in_(theirs))
            session.execute(
                update(Rating)
                .where(quoting, Rating.kind.in_(("comment", "tags", "correction")))
                .values(value=None, withdrawn=True)
            )
            messages = _changed(session, update(Message).where(_their_messages(person_id)).values(content=""))
            emptied = {"messages": [], "text": "", "token_ids": [], "logprobs": [], "sampling": {}}
            generations = _changed(session, update(Generation).where(_their_generations(person_id)).values(emptied))
            revoke_keys_of(session, person_id)
            found.name, found.consent, found.erased = None, False, found.erased or now()
            begun = unfinished(session)
            if begun is not None and session.get(TrainedOn, (begun.id, person_id)) is not None:
                finish_update(session, begun.id, "failed", None, {"why": "a person that it learned from was erased"})
            versions = sorted(_trained_with(session, [person_id]))
            goes_on = unfinished(session)
        _forget_replayed(store.home, None if goes_on is None else store.home / "updates" / str(goes_on.id))
        rows = sum(redact(folder, person_id, conversations) for folder in store.home.glob("updates/*/dataset*"))
        store.compact()
    return Erasure(person_id, messages, generations, gone, rows, versions)


def _forget_replayed(home: Path, kept: Path | None) -> None:
    """Remove what trainings replayed, wherever it stands, and steps that were cut short; `kept`: the folder of the
    update that may still go on, which never learned from whoever is erased.
    """
    cut = [step for step in home.glob("updates/*/*.tmp") if step.name != "dataset.tmp"]  # that one is redacted
    for file in [*home.rglob(REPLAYED), *cut]:
        if kept is None or not file.is_relative_to(kept):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)


def record_trained_on(session: Session, update_id: int, frozen: Frozen) -> None:
    """Remember whose words and ratings an update learns from: who rated, who asked, and whose conversation it was."""
    learned = [(row.person, row.conversation) for rows in frozen.by_kind().values() for row in rows]
    people = {person for person, _ in learned}
    conversations = sorted({conversation for _, conversation in learned})
    for start in range(0, len(conversations), 500):
        some = conversations[start : start + 500]
        people |= set(session.scalars(select(Conversation.person_id).where(Conversation.id.in_(some))))
        people |= set(session.scalars(select(Generation.person_id).where(Generation.conversation_id.in_(some))))
    present = set(session.scalars(select(TrainedOn.person_id).where(TrainedOn.update_id == update_id)))
    fresh = [{"update_id": update_id, "person_id": each} for each in sorted(people - present)]
    if fresh:
        session.execute(insert(TrainedOn), fresh)


def flagged_versions(session: Session) -> list[int]:
    """Versions that were trained on somebody who has been erased since, or that stand on such a version."""
    erased = list(session.scalars(select(Person.id).where(Person.erased.is_not(None))))
    return sorted(_trained_with(session, erased))


def _trained_with(session: Session, people: Iterable[str]) -> set[int]:
    updates = set(session.scalars(select(TrainedOn.update_id).where(TrainedOn.person_id.in_(list(people)))))
    found: set[int] = set()
    for version in session.scalars(select(Version).order_by(Version.id)):  # a parent has the smaller id
        if version.update_id in updates or version.parent_id in found:
            found.add(version.id)
    return found


def _changed(session: Session, statement: Delete | Update) -> int:
    """How many rows the statement took away or altered."""
    return cast(CursorResult[Any], session.execute(statement)).rowcount


def _their_generations(person_id: str) -> ColumnElement[bool]:
    owned = select(Conversation.id).where(Conversation.person_id == person_id)
    return or_(Generation.person_id == person_id, Generation.conversation_id.in_(owned))


def _their_messages(person_id: str) -> ColumnElement[bool]:
    owned = select(Conversation.id).where(Conversation.person_id == person_id)
    asked = select(Generation.conversation_id).where(Generation.person_id == person_id)
    return or_(Message.conversation_id.in_(owned), Message.conversation_id.in_(asked))


def _plain(row: Any, without: tuple[str, ...] = ()) -> Mapping[str, Any]:
    values = {column.key: getattr(row, column.key) for column in row.__table__.columns if column.key not in without}
    return {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in values.items()}
