"""An operator's regular expressions: refused when they are wrong, and cut off when they take too long.

Some expressions take exponential time on some texts (`(a|aa)+$` on a long row of a's). Those that a few hard texts
show are refused when the settings are read; a search in an answer is cut off after a quarter of a second.
"""

from __future__ import annotations

import logging

import regex

from problems import Problem

LIMIT = 0.25  # seconds of the processor that one search may take; a usual one takes microseconds
LONGEST = 2000  # characters of an expression
MOST = 1000  # in a counted repetition, {3} or {1,80}; each may be compiled as so many copies

_COUNT = regex.compile(r"(?<!\\)\{\s*(\d*)\s*,?\s*(\d*)\s*\}")

log = logging.getLogger(__name__)


def check_pattern(pattern: str, what: str) -> None:
    """Refuse an expression that is wrong or can take exponential time.

    Args:
        pattern: in the syntax of the `regex` library, which knows all that `re` knows and \\p{Han} besides.
        what: whose it is, the beginning of a sentence.

    Raises:
        Problem: with the place of the mistake (status 2).
    """
    if len(pattern) > LONGEST:
        raise Problem(f"{what} has {len(pattern)} characters.", hint=f"Give at most {LONGEST}.", status=2)
    if any(len(count) > 4 or int(count or 0) > MOST for pair in _COUNT.findall(pattern) for count in pair):
        raise Problem(f"{what} counts too far: {pattern!r}.", hint=f"Repeat at most {MOST} times.", status=2)
    try:
        compiled = regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        raise Problem(
            f"{what} is no regular expression: {pattern!r}: {error}.", hint="Mend it, or escape it with \\.", status=2
        ) from error
    letters = "".join(dict.fromkeys(c for c in pattern if c.isalnum()))[:50]
    literal = "".join(c for c in pattern if c.isalnum())[:50]
    hard = [each * 100 for each in [*letters, " ", "0", "a", literal, "word ", "0,"]]
    try:
        for text in hard:
            compiled.search(text + "\0", timeout=LIMIT)
    except TimeoutError as error:
        raise Problem(
            f"{what} can take forever: {pattern!r}.",
            hint="Let no repeated part hold or adjoin another that matches the same text, as in (a+)+ or (a|aa)+.",
            status=2,
        ) from error


def finds(pattern: str, text: str, most: int = 1) -> int | None:
    """How often an expression is found in a text, `most` at most; None where the search took too long."""
    found = 0
    try:
        for _ in regex.compile(pattern).finditer(text, timeout=LIMIT):
            found += 1
            if found == most:
                break
    except TimeoutError:
        log.warning("the search for %r in a text of %d characters took too long and was cut off", pattern, len(text))
        return None
    return found
