"""Stop texts: an answer ends before the first of them, and no part of one is ever shown."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Watches a text as it comes. `push` each piece, then `finish`; what they return, joined, is what may be shown."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stopped = False  # a stop text was met
        self._stop = tuple(stop)
        self._held = ""  # may be the beginning of a stop text

    def push(self, fresh: str) -> str:
        """Add a piece; returns the text that is certain now, and nothing once a stop text was met."""
        if self.stopped:
            return ""
        if not self._stop:
            return fresh
        waiting = self._held + fresh
        found = [place for place in (waiting.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped = True
            certain, self._held = waiting[: min(found)], ""
        else:
            keep = max(overlap(waiting, stop) for stop in self._stop)
            certain, self._held = waiting[: len(waiting) - keep], waiting[len(waiting) - keep :]
        return certain

    def finish(self) -> str:
        """The text is over: returns what was still held back, and nothing when called again."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that begins `mark` without being all of it."""
    longest = min(len(text), len(mark) - 1)
    return next((length for length in range(longest, 0, -1) if mark.startswith(text[-length:])), 0)
