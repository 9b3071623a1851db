"""How fast one person may rate or ask: nobody should fill the store, or outvote the others, by a script."""

from __future__ import annotations

import threading
import time
from collections import deque

from problems import Problem

WINDOW = 60.0  # seconds
REMEMBERED = 10_000  # people whose last minute is kept; the rest have been quiet longest


class TooFast(Problem):
    """More ratings, or requests, within a minute than one person may send. `wait`: whole seconds until the next."""

    def __init__(
        self, limit: int, wait: int, what: str = "ratings", whose: str = "one person", within: str = "a minute"
    ) -> None:
        super().__init__(f"More than {limit} {what} in {within} from {whose}.", hint=f"Try again in {wait} s.")
        self.wait, self.what = wait, what


class Pace:
    """Counts what each person sent in the last minute, in this process: two servers allow twice as many.

    Args:
        per_minute: most that is taken; 0 sets no limit.
        what: "ratings" or "requests", for the words of a refusal, which say `whose` they are.
    """

    def __init__(self, per_minute: int, what: str = "ratings", whose: str = "one person") -> None:
        self.per_minute, self.what, self.whose = per_minute, what, whose
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def step(self, person: str, count: int = 1) -> None:
        """Note `count` ratings or requests by this person, all or none of them.

        Raises:
            TooFast: it would be more than `per_minute` within a minute; nothing is to be taken. Never where
                `per_minute` is 0.
        """
        if not self.per_minute:
            return
        at = time.monotonic()
        with self._lock:
            times = self._times.pop(person, deque())
            self._times[person] = times  # now the last: the first are those who have been quiet longest
            while times and at - times[0] >= WINDOW:
                times.popleft()
            over = len(times) + count - self.per_minute
            if over > 0:
                oldest = times[min(over, len(times)) - 1] if times else at
                raise TooFast(self.per_minute, int(WINDOW - (at - oldest)) + 1, self.what, self.whose)
            times.extend([at] * count)
            while len(self._times) > REMEMBERED:
                del self._times[next(iter(self._times))]
