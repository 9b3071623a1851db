"""Opinions on generations: events that are only ever added, and the present opinion that they add up to.

Rating again replaces one's earlier opinion of the same kind, withdrawing hides it; both only add an event. A side by
side is one opinion on two generations, whichever of them comes first.

Tags, a comment and a correction that are given while a thumb stands hang on it: they say why it was given. When that
thumb is turned or withdrawn they are withdrawn with it, each by an event of its own. What was said before the thumb, or
without one, stands by itself, and so do scores and pairs.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import check_choice, check_known, check_text, known
from store.conversations import SURFACES
from store.imported import SURFACE, is_imported
from store.schema import Generation, Person, Rating, present_ratings

KINDS = ("thumb", "score", "tags", "comment", "correction", "pair")
HANGING = ("tags", "comment", "correction")  # on the thumb that stands when they are given
PAIR_VALUES = ("left", "right", "tie", "both_bad")
COMMENT_LIMIT = 10_000
CORRECTION_LIMIT = 100_000
TAGS_LIMIT = 32
TAG_LIMIT = 100


def rate(
    session: Session,
    *,
    generation_id: str,
    person_id: str,
    kind: str,
    value: Any,
    other: str | None = None,
    surface: str,
) -> Rating:
    """Add an opinion; it is kept once the session's block has ended.

    Args:
        kind, value: thumb: 1 or -1; score: 1 to 10; tags: a list of up to 32 short strings; comment: text up to 10,000
            characters; correction: the better answer, up to 100,000 characters; pair: left, right, tie or both_bad,
            where left is `generation_id` and right is `other`.
        other: for a pair only, the other generation.
        surface: where it was given: page, api or import.

    Raises:
        Problem: unknown generation, person or kind, a value that the kind does not take, or a person of an import's.
    """
    check_choice(kind, KINDS, "kind of rating")
    check_choice(surface, SURFACES, "surface")
    check_value(kind, value)
    _check_subject(session, generation_id, person_id, kind, other)
    _check_own(person_id, surface)
    if kind == "pair" and other is not None and _is_present(session, other, person_id, kind, generation_id):
        # The same two generations were judged the other way round: that opinion is the one being changed.
        _add(session, other, person_id, kind, generation_id, surface, withdrawn=True)
    if kind == "thumb":
        _withdraw_hanging(session, generation_id, person_id, surface, unless=value)
    return _add(session, generation_id, person_id, kind, other, surface, value=value)


def withdraw(
    session: Session, *, generation_id: str, person_id: str, kind: str, other: str | None = None, surface: str = "api"
) -> Rating:
    """Take back one's present opinion of this kind, with what hangs on it: events that hide the earlier ones.

    Raises:
        Problem: unknown generation, person or kind, or there is no such opinion to take back.
    """
    check_choice(kind, KINDS, "kind of rating")
    _check_subject(session, generation_id, person_id, kind, other)
    _check_own(person_id, surface)
    if kind == "pair" and other is not None and _is_present(session, other, person_id, kind, generation_id):
        return _add(session, other, person_id, kind, generation_id, surface, withdrawn=True)
    if not _is_present(session, generation_id, person_id, kind, other):
        raise Problem(
            f"There is no {kind} of {person_id} on {generation_id} to withdraw.", hint="It may be gone already."
        )
    if kind == "thumb":
        _withdraw_hanging(session, generation_id, person_id, surface)
    return _add(session, generation_id, person_id, kind, other, surface, withdrawn=True)


def present(session: Session, generation_id: str, person_id: str | None = None) -> list[Rating]:
    """The opinions that hold now on this generation (of a pair: its first half), by one person or all, oldest first."""
    query = select(Rating).join(present_ratings, present_ratings.c.id == Rating.id)
    query = query.where(present_ratings.c.generation_id == generation_id)
    if person_id is not None:
        query = query.where(present_ratings.c.person_id == person_id)
    return list(session.scalars(query.order_by(Rating.id)))


def count_present(session: Session) -> dict[str, int]:
    """How many opinions hold now, by kind; every kind is named."""
    query = select(present_ratings.c.kind, func.count()).group_by(present_ratings.c.kind)
    found = {row[0]: row[1] for row in session.execute(query)}
    return {kind: found.get(kind, 0) for kind in KINDS}


def check_value(kind: str, value: Any) -> None:
    """Raise `Problem` unless this kind of rating takes this value."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if kind == "thumb" and not (number and value in (1, -1)):
        raise _bad(kind, value, "1 (good) or -1 (bad)")
    if kind == "score" and not (number and 1 <= value <= 10):
        raise _bad(kind, value, "a whole number from 1 to 10")
    if kind == "pair" and not (isinstance(value, str) and value in PAIR_VALUES):
        raise _bad(kind, value, f"one of {', '.join(PAIR_VALUES)}")
    if kind == "comment":
        _check_words(kind, value, COMMENT_LIMIT)
    if kind == "correction":
        _check_words(kind, value, CORRECTION_LIMIT)
    if kind == "tags":
        if not isinstance(value, list) or len(value) > TAGS_LIMIT:
            raise _bad(kind, value, f"a list of up to {TAGS_LIMIT} tags")
        for tag in value:
            _check_words("tag", tag, TAG_LIMIT)


def _check_words(what: str, value: Any, limit: int) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > limit:
        raise _bad(what, value, f"text of 1 to {limit} characters")
    check_text(value, f"the {what}")


def _bad(what: str, value: Any, wanted: str) -> Problem:
    shown = ascii(value)
    return Problem(
        f"A {what} cannot be {shown if len(shown) <= 60 else shown[:57] + '...'}.", hint=f"Give {wanted} as its value."
    )


def _check_subject(session: Session, generation_id: str, person_id: str, kind: str, other: str | None) -> None:
    check_known(session, Generation, generation_id, "generation")
    known(session, Person, person_id, "person")
    if kind != "pair":
        if other is not None:
            raise Problem(f"A {kind} is about one generation.", hint="Leave `other` out, or use the kind `pair`.")
        return
    if other is None or other == generation_id:
        raise Problem("A pair is about two different generations.", hint="Name the second one as `other`.")
    check_known(session, Generation, other, "generation")


def _check_own(person_id: str, surface: str) -> None:
    if is_imported(person_id) and surface != SURFACE:
        raise Problem(
            "What an import brought is changed by an import alone.",
            hint="Rate as somebody else; `ratchet rating drop` takes an imported rating out.",
        )


def _is_present(session: Session, generation_id: str, person_id: str, kind: str, other: str | None) -> bool:
    opinions = present(session, generation_id, person_id)
    return any(each.kind == kind and each.other_id == other for each in opinions)


def _withdraw_hanging(
    session: Session, generation_id: str, person_id: str, surface: str, unless: int | None = None
) -> None:
    """Withdraw what hangs on one's present thumb, unless that has the value `unless`."""
    opinions = {each.kind: each for each in present(session, generation_id, person_id)}
    thumb = opinions.get("thumb")
    if thumb is None or thumb.value == unless:
        return
    # The same thumb may have been given several times over: it stands since the first of these.
    query = select(Rating).where(
        Rating.generation_id == generation_id, Rating.person_id == person_id, Rating.kind == "thumb"
    )
    for event in session.scalars(query.order_by(Rating.id.desc())):
        if event.withdrawn or event.value != thumb.value:
            break
        since = event.id
    for kind in HANGING:
        if kind in opinions and opinions[kind].id > since:
            _add(session, generation_id, person_id, kind, None, surface, withdrawn=True)


def _add(
    session: Session,
    generation_id: str,
    person_id: str,
    kind: str,
    other: str | None,
    surface: str,
    *,
    value: Any = None,
    withdrawn: bool = False,
) -> Rating:
    event = Rating(
        generation_id=generation_id,
        person_id=person_id,
        kind=kind,
        value=value,
        other_id=other,
        withdrawn=withdrawn,
        surface=surface,
    )
    session.add(event)
    session.flush()
    return event
