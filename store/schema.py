"""The tables: who spoke, what was said, what was thought of it, which versions exist and what serves.

Ratings are events and are only ever added. The present opinion is the view `present_ratings`: of the events by one
person on one generation, one kind and one other generation, the latest, unless that one withdraws.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Moment(TypeDecorator[datetime]):
    """A point in time in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC on the way in."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With its zone on the way out."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A short random id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


class Tables(DeclarativeBase):
    """What every table shares: names of constraints that do not depend on the database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Person(Tables):
    """Somebody who chats or rates; without `consent` their words and ratings stay out of every dataset.

    Of somebody who was erased the row stays as a tombstone, with the time.
    """

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(String(200), primary_key=True, default=new_id)
    name: Mapped[str | None] = mapped_column(String(200), unique=True)
    consent: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    erased: Mapped[datetime | None] = mapped_column(Moment)


class Conversation(Tables):
    """A tree of messages that belongs to one person; `surface` is where it was held: page, api or import."""

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=new_id)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    surface: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Message(Tables):
    """One turn; messages with the same parent are siblings (regenerated or edited), none replaces another."""

    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)
    generation_id: Mapped[str | None] = mapped_column(ForeignKey("generations.id"), index=True)
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Generation(Tables):
    """One answer of the model with everything that made it; ratings hang on this."""

    __tablename__ = "generations"
    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: f"gen-{secrets.token_hex(12)}")
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), index=True)
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"), index=True)
    adapter_hash: Mapped[str | None] = mapped_column(String(64))
    sampling: Mapped[dict[str, Any]] = mapped_column(JSON)
    token_ids: Mapped[list[int]] = mapped_column(JSON)
    logprobs: Mapped[list[float]] = mapped_column(JSON)
    text: Mapped[str] = mapped_column(Text)
    finish_reason: Mapped[str] = mapped_column(String(16))
    surface: Mapped[str] = mapped_column(String(16))
    latency: Mapped[float]
    pair: Mapped[str | None] = mapped_column(String(64), index=True)
    side: Mapped[str | None] = mapped_column(String(8))
    propensity: Mapped[float | None]
    draw: Mapped[str | None] = mapped_column(String(16))  # uniform, thompson; None: not one of a drawn pair
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Rating(Tables):
    """One event: a person gave an opinion on a generation, or withdrew it. Never changed once written."""

    __tablename__ = "ratings"
    id: Mapped[int] = mapped_column(primary_key=True)
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"))
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    value: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    other_id: Mapped[str | None] = mapped_column(ForeignKey("generations.id"), index=True)
    withdrawn: Mapped[bool] = mapped_column(default=False)
    surface: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    __table_args__ = (
        Index("ix_ratings_opinion", "generation_id", "person_id", "kind", "other_id"),
        # Ids of removed events must not come back: the latest event is the one with the highest id.
        {"sqlite_autoincrement": True},
    )


class Version(Tables):
    """A LoRA adapter that can serve; version 0 is the base itself, adapters off."""

    __tablename__ = "versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    base_id: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    adapter: Mapped[str | None] = mapped_column(Text)
    adapter_hash: Mapped[str | None] = mapped_column(String(64))
    update_id: Mapped[int | None] = mapped_column(ForeignKey("updates.id"))
    dataset_hash: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    __table_args__ = ({"sqlite_autoincrement": True},)


class Serving(Tables):
    """The pointer: which version answers now. One row."""

    __tablename__ = "serving"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class Update(Tables):
    """One run of the offline job; `steps` is a list of {step, status, detail, at}, one entry a step."""

    __tablename__ = "updates"
    id: Mapped[int] = mapped_column(primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(32))
    seed: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    verdict: Mapped[str | None] = mapped_column(String(16))
    # No foreign key: versions.update_id is one already, and a circle of keys cannot be created on every database.
    version_id: Mapped[int | None]
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    started: Mapped[datetime] = mapped_column(Moment, default=now)
    finished: Mapped[datetime | None] = mapped_column(Moment)
    __table_args__ = ({"sqlite_autoincrement": True},)


class TrainedOn(Tables):
    """A person whose words or ratings an update learned from."""

    __tablename__ = "trained_on"
    update_id: Mapped[int] = mapped_column(ForeignKey("updates.id"), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), primary_key=True, index=True)


class Audit(Tables):
    """One act of the operator or the gate: written in the same transaction as the act, never altered.

    A promotion or rollback says from which version to which. What changes nothing of that (a rating dropped) names what
    serves on both sides, or nothing where nothing serves yet.
    """

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    who: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(16))
    from_version: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    to_version: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    reason: Mapped[str] = mapped_column(Text)
    __table_args__ = ({"sqlite_autoincrement": True},)


class Key(Tables):
    """An API key: hashes of its secret and of its page token, the secret's beginning, and what it is good for.

    `person_id` is whom it speaks for. `last_used` is written at most once an hour.
    """

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=new_id)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    page_digest: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"), index=True)
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    revoked: Mapped[datetime | None] = mapped_column(Moment)
    last_used: Mapped[datetime | None] = mapped_column(Moment)


class Salt(Tables):
    """A secret of this store by which something is drawn: the holdout, or the pseudonyms of imported people."""

    __tablename__ = "salts"
    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))


# The view lives in its own metadata so that nobody takes it for a table to create; migrations make it.
present_ratings = Table(
    "present_ratings",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("generation_id", String(64)),
    Column("person_id", String(200)),
    Column("kind", String(16)),
    Column("value", JSON),
    Column("other_id", String(64)),
    Column("surface", String(16)),
    Column("created", Moment),
)
