"""Who waits for a slot: a line for each person, and a turn for whoever has the fewest answers under way."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator

from lm.request import Request
from problems import Problem


class QueueFull(Problem):
    """As many requests wait as may. `wait`: seconds after which a place is likely to be free."""

    def __init__(self, message: str, wait: int) -> None:
        super().__init__(message, hint=f"Try again in {wait} s.")
        self.wait = wait


class Unavailable(Problem):
    """Whoever makes the answers cannot make one now; the request itself is in order."""


class Late(Problem):
    """The request's time was over before it had a slot."""


class Line:
    """Waiting requests, at most `capacity`, apart by person. Not thread-safe: its owner holds a lock.

    One person may fill half of the places that are still free (Choudhury and Hahne 1998, "Dynamic queue length
    thresholds for shared-memory packet switches", with alpha 1): alone half of the line, two people a third each, so
    that whoever comes next still finds room.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._people: OrderedDict[str, deque[Request]] = OrderedDict()  # who has waited longest for a turn is first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Request]:
        for theirs in self._people.values():
            yield from theirs

    def add(self, request: Request, wait: int) -> None:
        """Put a request at the end of its person's line.

        Raises:
            QueueFull: the person's share is used up; `wait` is passed on in it.
        """
        theirs = self._people.get(request.person, deque())
        if len(theirs) >= self._capacity - self._count:
            raise QueueFull(f"{len(theirs)} of your requests and {self._count} in all wait already.", wait)
        theirs.append(request)
        self._people.setdefault(request.person, theirs)
        self._count += 1

    def take(self, running: Counter[str]) -> Request:
        """The next request, of the person with the fewest running ones; among equals, who has waited longest."""
        person = min(self._people, key=lambda each: running[each])
        theirs = self._people.pop(person)
        request = theirs.popleft()
        if theirs:
            self._people[person] = theirs  # now at the end
        self._count -= 1
        return request

    def drop(self, leaves: Callable[[Request], bool]) -> list[Request]:
        """Take out the requests of which `leaves` is true."""
        gone = [request for theirs in self._people.values() for request in theirs if leaves(request)]
        for request in gone:
            theirs = self._people[request.person]
            theirs.remove(request)
            if not theirs:
                del self._people[request.person]
        self._count -= len(gone)
        return gone
