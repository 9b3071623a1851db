"""Who waits for a slot: a lane for each person of each door, and a turn for whoever has the fewest under way."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator

from lm.request import Request
from problems import Problem

Lane = tuple[str, str]  # a door and a person


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
    """Waiting requests, at most `capacity`, apart by door and person. Not thread-safe: its owner holds a lock.

    A door is a key or a network address: names can be invented, so whoever comes through one door has together what
    whoever comes through another has. A person without a door is one of their own. One door may fill half of the places
    that are still free (Choudhury and Hahne 1998, "Dynamic queue length thresholds for shared-memory packet switches",
    with alpha 1): alone half of the line, two a third each, so that whoever comes next still finds room.

    Args:
        capacity: requests that may wait.
        most: running requests of one door, at most; None sets no limit. A person without a door has none.
    """

    def __init__(self, capacity: int, most: int | None = None) -> None:
        self._capacity, self._most = capacity, most
        self._lanes: OrderedDict[Lane, deque[Request]] = OrderedDict()  # who has waited longest for a turn is first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Request]:
        for theirs in self._lanes.values():
            yield from theirs

    def add(self, request: Request, wait: int) -> None:
        """Put a request at the end of its lane.

        Raises:
            QueueFull: the door's share is used up; `wait` is passed on in it.
        """
        lane = _lane(request)
        waiting = sum(len(theirs) for each, theirs in self._lanes.items() if each[0] == lane[0])
        if waiting >= self._capacity - self._count:
            raise QueueFull(f"{waiting} of your requests and {self._count} in all wait already.", wait)
        self._lanes.setdefault(lane, deque()).append(request)
        self._count += 1

    def take(self, running: Iterable[Request]) -> Request | None:
        """The next request: of the door with the fewest running ones, of it of the person with the fewest; among equals
        of who has waited longest. None where every door that waits has as many as it may.
        """
        lanes = Counter(_lane(each) for each in running)
        doors: Counter[str] = Counter()
        for (door, _), count in lanes.items():
            doors[door] += count
        free = [lane for lane in self._lanes if not self._full(lane, doors)]
        if not free:
            return None
        lane = min(free, key=lambda each: (doors[each[0]], lanes[each]))
        theirs = self._lanes.pop(lane)
        request = theirs.popleft()
        if theirs:
            self._lanes[lane] = theirs  # now at the end
        self._count -= 1
        return request

    def drop(self, leaves: Callable[[Request], bool]) -> list[Request]:
        """Take out the requests of which `leaves` is true."""
        gone = [request for theirs in self._lanes.values() for request in theirs if leaves(request)]
        for request in gone:
            theirs = self._lanes[_lane(request)]
            theirs.remove(request)
            if not theirs:
                del self._lanes[_lane(request)]
        self._count -= len(gone)
        return gone

    def _full(self, lane: Lane, doors: Counter[str]) -> bool:
        own = lane[0] == _own(lane[1])
        return not own and self._most is not None and doors[lane[0]] >= self._most


def _lane(request: Request) -> Lane:
    return request.door or _own(request.person), request.person


def _own(person: str) -> str:
    """The door of a person who has none: no key and no address is called so."""
    return f"person {person}"
