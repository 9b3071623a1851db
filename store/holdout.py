"""What is learned from and what is held out: decided by a keyed hash of what was said first and of who somebody is.

What is held out once stays so for ever, whatever else comes. The key is the store's secret salt: without it anybody
could choose their words such that they are held out. A store that is older than salts has an empty one, and keeps the
split that it was begun with.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.duplicates import near_duplicates
from store.frozen import Messages, Split, line
from store.imported import PERSON, RATER
from store.opinions import asked
from store.salts import salt_of
from store.schema import Person

FIRST_PEOPLE = 20  # who came first are never held out


class Sides:
    """The side on which each thing that was said in a store falls."""

    def __init__(self, session: Session, share: float, people_share: float) -> None:
        """`share`: held out of the openings; `people_share`: of the people after the first twenty."""
        self.share = share
        self.held = held_out_people(session, people_share)
        self._salt = salt_of(session, "holdout")
        self._openings: dict[str, str] = {}
        self._askers: dict[str, str] = {}
        for each in asked(session):
            self._openings.setdefault(each.conversation, opening(each.messages))
            self._askers[each.conversation] = each.person

    def of(self, conversation: str, messages: Messages, person: str) -> Split | None:
        """The side of what `person` said of `messages`; None where opening, conversation and people disagree."""
        openings = opening(messages), self._openings[conversation]
        sides = {split_of(each, self.share, self._salt) for each in openings}
        if len(sides) > 1:
            return None
        mine = {person, self._askers[conversation]}
        if sides == {"train"} and mine & self.held:
            return "holdout" if mine <= self.held else None
        return sides.pop()


def held_out_people(session: Session, share: float) -> set[str]:
    """Ids of the people of whom nothing is learned: that share of those who came after the first twenty."""
    came = select(Person.id).where(Person.id != PERSON, ~Person.id.startswith(RATER, autoescape=True))
    came = came.order_by(Person.created, Person.id).offset(FIRST_PEOPLE)
    salt = salt_of(session, "holdout")
    return {each for each in session.scalars(came) if _below(f"person {each}", share, salt)}


def near(openings: Iterable[str], others: Iterable[str]) -> set[str]:
    """The openings that are near duplicates of at least one of `others`."""
    found = sorted(set(openings))
    return {found[place] for place in near_duplicates(found, sorted(set(others)))}


def split_of(opening: str, holdout_share: float, salt: str) -> Split:
    """The side on which a conversation that opens with these words falls; spacing, case and width do not matter."""
    words = " ".join(unicodedata.normalize("NFKC", opening).casefold().split())
    return "holdout" if _below(words, holdout_share, salt) else "train"


def opening(messages: Messages) -> str:
    """What a conversation was opened with: its first turn by a user, else its first turn."""
    asked_first = next((each for each in messages if each.get("role") == "user"), messages[0] if messages else {})
    content = asked_first.get("content", "")
    return content if isinstance(content, str) else line(content)


def _below(key: str, share: float, salt: str) -> bool:
    """True for that share of all keys, for ever the same ones; a larger share has all of a smaller one's."""
    digest = hmac.digest(salt.encode(), key.encode(), "sha256") if salt else hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
