"""An operator's regular expressions."""

from __future__ import annotations

import time

import pytest

from problems import Problem
from reward.patterns import LIMIT, check_pattern, finds


def test_good_ones_pass() -> None:
    for pattern in ("", r"\bsorry\b", r"(?i)as an? (ai|language model)", r"\p{Han}{3,}", r"^\s*-"):
        check_pattern(pattern, "It")


@pytest.mark.parametrize("pattern", ["(a|aa)+$", r"(\w|\w\w)+$"])
def test_those_without_end_are_refused(pattern: str) -> None:
    with pytest.raises(Problem, match="can take forever"):
        check_pattern(pattern, "The pattern")


def test_wrong_and_huge_ones_are_refused() -> None:
    with pytest.raises(Problem, match="no regular expression"):
        check_pattern("[a", "The pattern")
    with pytest.raises(Problem, match="3000 characters"):
        check_pattern("a" * 3000, "The pattern")


def test_finds_are_counted_up_to_what_is_asked() -> None:
    assert finds("a", "banana", 9) == 3
    assert finds("a", "banana", 2) == 2
    assert finds("x", "banana") == 0


def test_a_search_is_cut_off_in_time() -> None:
    begun = time.process_time()
    assert finds("(x+x+)+y", "x" * 5000) is None
    assert time.process_time() - begun < 8 * LIMIT
