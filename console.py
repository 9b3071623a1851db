"""What a command shows: a progress bar on a terminal, plain lines elsewhere, and its result as text or as one JSON
line.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

QUIET = 5.0  # seconds between plain lines about the same work


@dataclass(frozen=True)
class Outcome:
    """The result of a command: keys for `--json`, lines for people, and the exit status."""

    data: dict[str, Any]
    text: str
    status: int = 0


def show(outcome: Outcome, as_json: bool) -> None:
    """Print a result; with `as_json` the last line of standard output is one JSON object."""
    if as_json:
        print(json.dumps(finite(outcome.data), ensure_ascii=False, default=str), flush=True)
    else:
        print(outcome.text, flush=True)


def finite(value: Any) -> Any:
    """NaN and infinity are not JSON; they become null."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class Progress:
    """Reports long work on standard error: call it with what is being done, how much is done, and of how much."""

    _bar: Any = None
    _work: str = ""
    _said: float = field(default=-math.inf)

    def __call__(self, label: str, done: int, total: int) -> None:
        work = label.split(",")[0]
        if sys.stderr.isatty():
            if work != self._work:
                self.close()
                self._bar = tqdm(total=total, leave=True)
            self._bar.set_description(label)
            self._bar.update(done - self._bar.n)
        elif work != self._work or done == total or time.monotonic() - self._said >= QUIET:
            print(f"{label}: {done} of {total}" if total > 1 else label, file=sys.stderr, flush=True)
            self._said = time.monotonic()
        self._work = work

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
