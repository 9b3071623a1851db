"""An operator's regular expressions: refused with the place of the mistake, and never left to run."""

from __future__ import annotations

import logging
import time

import pytest

from problems import Problem
from reward.patterns import LIMIT, LONGEST, check_pattern, finds

SLOW = r"^(a|b|ab)*c$"  # takes exponential time on many ab's


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "no regular expression.*position 1"),
        ("a{3", None),
        ("(" * 990 + ")" * 990, "no regular expression"),
        (r"(a|aa)+$", "can take forever"),
        (r"(?:a{60000}){60000}", "counts too far"),
        ("a" * (LONGEST + 1), "has 2001 characters"),
        (r"\w+@\w+\.\w{2,8}", None),
        (r"\{5000\}", None),
        (r"\p{Han}+", None),
    ],
)
def test_what_is_wrong_or_without_end_is_refused(pattern: str, message: str | None) -> None:
    if message is None:
        check_pattern(pattern, "The pattern")
        return
    with pytest.raises(Problem, match=message) as caught:
        check_pattern(pattern, "The pattern")
    assert str(caught.value).startswith("The pattern")
    assert caught.value.hint
    assert caught.value.status == 2


def test_finds_are_counted_up_to_what_matters() -> None:
    assert finds("b", "abba", 5) == 2
    assert finds("b", "abba", 1) == 1
    assert finds("c", "abba") == 0


def test_a_search_that_takes_too_long_is_cut_off_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    begun = time.process_time()
    with caplog.at_level(logging.WARNING, "reward.patterns"):
        assert finds(SLOW, "ab" * 60 + "cd") is None
    assert time.process_time() - begun < 20 * LIMIT
    assert "took too long" in caplog.text
