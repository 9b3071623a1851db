"""What the store refuses at the door: unknown ids, values that are no choice, and text that cannot be stored.

Text may be anything that UTF-8 can hold, but for NUL, which PostgreSQL cannot: a store must be able to move there.
A JSON request may also hold half of a surrogate pair (`"\\ud800"`), which no UTF-8 file, database or tokenizer can.
Such text is refused at the door, with its place, rather than altered or lost later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from problems import Problem
from store.schema import Tables


class UnknownId(Problem):
    """An id that names no row."""


Row = TypeVar("Row", bound=Tables)


def check_text(value: Any, where: str) -> None:
    """Raise `Problem` when a string anywhere in `value` (string, list or dict, nested) cannot be stored.

    `where` names the value in the message, for example `content`.
    """
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Problem(
                f"The text of {where} cannot be stored: half of a surrogate pair at character {error.start}.",
                hint="Send the whole character, or leave that half out.",
            ) from None
        if "\0" in value:
            raise Problem(
                f"The text of {where} cannot be stored: a NUL character at character {value.index(chr(0))}.",
                hint="Leave that character out.",
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, f"a key of {where}")
            check_text(item, f"{where}.{key}" if isinstance(key, str) and key.isidentifier() else where)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_text(item, f"{where}[{index}]")


def check_short(value: str, where: str, limit: int = 200) -> None:
    """Raise `Problem` unless `value` is storable text of 1 to `limit` characters: a name or id from outside."""
    check_text(value, where)
    if not value.strip() or len(value) > limit:
        raise Problem(
            f"{where} must be text of 1 to {limit} characters; this one has {len(value)}.",
            hint="Send a shorter one, or leave it out.",
        )


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raise `Problem` unless `value` is one of `choices`; `what` names it, for example `role`."""
    if value not in choices:
        raise Problem(f"{value!r} is no {what}.", hint=f"Use one of: {', '.join(choices)}.")


def find(session: Session, table: type[Row], id: str | int) -> Row | None:
    """The row of `table` with this id; None when there is none.

    A key that no database can hold (half a surrogate pair, NUL, a number past 32 bits) is the key of no row.
    """
    return session.get(table, id) if _storable(id) else None


def check_known(session: Session, table: type[Tables], id: str, what: str) -> None:
    """Raise `UnknownId` unless `table` has a row with this id; the row is not read."""
    key = inspect(table).primary_key[0]
    if not _storable(id) or session.scalar(select(key).where(key == id)) is None:
        raise _unknown(id, what)


def known(session: Session, table: type[Row], id: str | int, what: str) -> Row:
    """The row of `table` with this id; `UnknownId` when there is none (its hint names `what`, for example `person`)."""
    row = find(session, table, id)
    if row is None:
        raise _unknown(id, what)
    return row


def _storable(id: str | int) -> bool:
    if isinstance(id, int):
        return -(2**31) <= id < 2**31
    try:
        check_text(id, "the id")
    except Problem:
        return False
    return True


def _unknown(id: str | int, what: str) -> UnknownId:
    shown = ascii(id)[1:-1] if isinstance(id, str) and not id.isprintable() else id
    return UnknownId(f"There is no {what} {shown}.", hint=f"Check the {what}'s id.")
