"""How many new people one door may bring in: ratings of many invented people would outvote those of a few."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from chat.pace import REMEMBERED, TooFast
from store.schema import Person

HOUR = 3600.0  # seconds


class TooManyPeople(TooFast):
    """More new people within an hour than may come by one door."""

    def __init__(self, limit: int, wait: int) -> None:
        super().__init__(limit, wait, "new people", "one key or address", "an hour")
        self.what = "people"  # in the code that programs read


class Arrivals:
    """Counts the people whom each door brought in within the last hour, in this process; 0: no limit."""

    def __init__(self, per_hour: int) -> None:
        self.per_hour = per_hour
        self._came: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def by(self, door: str, session: Session) -> Iterator[None]:
        """While this lasts, whoever is added to the store came by this door.

        Raises:
            TooManyPeople: one too many; they are not added.
        """

        def look(session: Session, *_: Any) -> None:
            for each in session.new:
                if isinstance(each, Person):
                    self._admit(door, each.id or each.name or "")

        if not self.per_hour:
            yield
            return
        event.listen(session, "before_flush", look)
        try:
            yield
        finally:
            event.remove(session, "before_flush", look)

    def _admit(self, door: str, who: str) -> None:
        """Count somebody; twice the same once, since a write may be undone and done again."""
        at = time.monotonic()
        with self._lock:
            came = {each: when for each, when in self._came.pop(door, {}).items() if at - when < HOUR}
            self._came[door] = came
            if who not in came and len(came) >= self.per_hour:
                raise TooManyPeople(self.per_hour, int(HOUR - (at - next(iter(came.values())))) + 1)
            came.setdefault(who, at)
            while len(self._came) > REMEMBERED:
                del self._came[next(iter(self._came))]
