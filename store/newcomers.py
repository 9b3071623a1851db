"""Who is new: people whom nothing speaks for yet. How much of a dataset may be theirs: `store.shares`.

One program can be eight hundred people who gave one rating each; no figure about any of them says so (Douceur 2002,
"The Sybil Attack": without somebody who vouches for identities, one party can always be many). So what nobody vouches
for weighs little as a whole, however many it claims to be. A key that speaks for a person vouches, and so does an
import, which is the operator's own; where others can reach the server, keys are the cure and this is a bound on the
harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.imported import is_imported
from store.opinions import Opinion
from store.raters import KINDS, alike, item_of
from store.schema import Key, Rating, Update
from store.updates import JUDGED

FIRST_RATERS = 20  # who rated first are known: a family or a small team all know each other
RATED = 5  # conversations that somebody rated, before they are known by that
AGREED = 2  # more comparisons with known people that came out the same than otherwise, before those vouch for somebody


def newcomers(session: Session, given: Iterable[Opinion]) -> set[str]:
    """People among those who gave these opinions whom nothing speaks for.

    Known is who rated among the first twenty, whose own a key is that was not revoked, whom a file names, who rated
    five conversations and did so before the last update began, or who agrees with known people: on the same item of
    the same kind, at least twice more often than not.

    Args:
        given: present opinions.
    """
    every = list(given)
    rated: dict[str, set[str]] = defaultdict(set)
    for opinion in every:
        rated[opinion.person].add(opinion.conversation)
    first = _first_ratings(session)
    own = sorted((each for each in rated if not is_imported(each)), key=lambda each: (first[each], each))
    known = set(rated) - set(own) | set(own[:FIRST_RATERS]) | _keyed(session)
    since = _last_update(session)
    known |= {each for each in own if len(rated[each]) >= RATED and (since is None or first[each] <= since)}
    return set(own) - known - _vouched(every, known)


def _first_ratings(session: Session) -> dict[str, datetime]:
    """When each person first rated, whatever became of that rating."""
    first = select(Rating.person_id, func.min(Rating.created)).group_by(Rating.person_id)
    return {row[0]: row[1] for row in session.execute(first)}


def _keyed(session: Session) -> set[str]:
    return set(session.scalars(select(Key.person_id).where(Key.person_id.is_not(None), Key.revoked.is_(None))))


def _last_update(session: Session) -> datetime | None:
    """When the last update that came to a verdict began."""
    learned = select(Update.started).where(Update.verdict.in_(JUDGED))
    return session.scalar(learned.order_by(Update.started.desc()).limit(1))


def _vouched(given: Sequence[Opinion], known: set[str]) -> set[str]:
    """People who agree with known ones on what both rated."""
    items: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for opinion in given:
        if opinion.kind in KINDS:
            item, said = item_of(opinion.messages, opinion.text, opinion.other_text, opinion.value)
            items[opinion.kind, item][opinion.person] = said
    agreed: dict[str, int] = defaultdict(int)
    for (kind, _), values in items.items():
        theirs = [value for person, value in values.items() if person in known]
        for person, value in values.items():
            if person not in known:
                agreed[person] += sum(1 if alike(kind, value, each) else -1 for each in theirs)
    return {person for person, count in agreed.items() if count >= AGREED}
