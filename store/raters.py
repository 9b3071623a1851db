"""What can be known of raters by counting: how much, how fast, how steady, and how they agree with the others.

A side by side is one item, whichever half comes first; a thumb or a score is one on its answer. Two answers with the
same words to the same prompt are one item, so a question asked twice is a repeat, and shows how steady a person is.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from store.schema import Generation, Rating

KINDS = ("thumb", "score", "pair")
MINUTE = timedelta(minutes=1)
_TURNED = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Share:
    """How many of how many; `value` is None where there were none."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True)
class Rater:
    """One person's ratings in figures.

    Attributes:
        ratings: events by kind, withdrawals left out.
        liked: thumbs up among thumbs.
        left: verdicts for the left answer among those for either side; far from a half it is habit, not judgement.
        steady: repeats of an item (of the same kind) on which the person said the same again.
        agreement: comparisons with other people on the same item and kind that came out the same.
        fastest: most ratings within one minute.
    """

    person: str
    ratings: dict[str, int]
    liked: Share
    left: Share
    steady: Share
    agreement: Share
    fastest: int


@dataclass(frozen=True)
class _Event:
    person: str
    kind: str
    item: str
    value: Any
    side: Any
    at: Any


def raters(session: Session) -> list[Rater]:
    """Everybody who rated, the most active first. Scores agree if they differ by one at most."""
    events = list(_events(session))
    by_person: dict[str, list[_Event]] = defaultdict(list)
    by_item: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for event in events:
        by_person[event.person].append(event)
        by_item[event.kind, event.item][event.person] = event.value
    same: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    for (kind, _), values in by_item.items():
        for (one, first), (other, second) in combinations(values.items(), 2):
            for person in (one, other):
                compared[person] += 1
                same[person] += alike(kind, first, second)
    found = [_rater(person, theirs, Share(same[person], compared[person])) for person, theirs in by_person.items()]
    return sorted(found, key=lambda each: (-sum(each.ratings.values()), each.person))


def agreement(session: Session) -> dict[str, float | None]:
    """Krippendorff's alpha of each kind (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"), nominal.

    1: people agree; 0: as by chance; None: no item was rated by two people, or all said one thing.
    """
    items: dict[str, dict[str, dict[str, Any]]] = {kind: defaultdict(dict) for kind in KINDS}
    for event in _events(session):
        items[event.kind][event.item][event.person] = event.value
    return {kind: _alpha([list(values.values()) for values in items[kind].values()]) for kind in KINDS}


def _events(session: Session) -> list[_Event]:
    other = aliased(Generation)
    query = (
        select(
            Rating.person_id,
            Rating.kind,
            Rating.value,
            Rating.created,
            Generation.messages,
            Generation.text,
            other.text,
        )
        .join(Generation, Generation.id == Rating.generation_id)
        .outerjoin(other, other.id == Rating.other_id)
        .where(Rating.kind.in_(KINDS), Rating.withdrawn.is_(False), Generation.text != "")
        .order_by(Rating.id)
    )
    found = []
    for person, kind, value, at, messages, text, other_text in session.execute(query.execution_options(yield_per=500)):
        item, said = item_of(messages, text, other_text, value)
        found.append(_Event(person, kind, item, said, value, at))
    return found


def item_of(messages: list[dict[str, Any]], text: str, other_text: str | None, value: Any) -> tuple[str, Any]:
    """What a rating is about, the same whichever half of a side by side comes first, and what it says of that."""
    texts, said = (text, other_text), value
    if other_text is not None and other_text < text:
        texts, said = (other_text, text), _TURNED.get(value, value)
    key = json.dumps([messages, texts], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest(), said


def _rater(person: str, events: list[_Event], agreed: Share) -> Rater:
    thumbs = [event.value for event in events if event.kind == "thumb"]
    sides = [event.side for event in events if event.kind == "pair" and event.side in _TURNED]
    steady = repeated = 0
    last: dict[tuple[str, str], Any] = {}
    for event in events:
        key = event.kind, event.item
        if key in last:
            repeated += 1
            steady += alike(event.kind, last[key], event.value)
        last[key] = event.value
    times = sorted(event.at for event in events)
    start = fastest = 0
    for end, at in enumerate(times):
        while at - times[start] > MINUTE:
            start += 1
        fastest = max(fastest, end - start + 1)
    return Rater(
        person=person,
        ratings=dict(Counter(event.kind for event in events)),
        liked=Share(thumbs.count(1), len(thumbs)),
        left=Share(sides.count("left"), len(sides)),
        steady=Share(steady, repeated),
        agreement=agreed,
        fastest=fastest,
    )


def alike(kind: str, one: Any, other: Any) -> bool:
    """Whether two ratings of one item and kind say the same; of scores, to within one."""
    return abs(one - other) <= 1 if kind == "score" else one == other


def _alpha(units: list[list[Any]]) -> float | None:
    pairable = [unit for unit in units if len(unit) > 1]
    totals = Counter(value for unit in pairable for value in unit)
    n = sum(totals.values())
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b)
    if not expected:
        return None
    observed = 0.0
    for unit in pairable:
        counts = Counter(unit)
        observed += sum(counts[a] * counts[b] for a in counts for b in counts if a != b) / (len(unit) - 1)
    return 1 - (n - 1) * observed / expected
