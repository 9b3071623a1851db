"""The line before the slots: turns, shares, and what leaves it."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.line import Line, QueueFull
from lm.lora import Version
from lm.request import Request
from lm.settings import Sampling
from lm.stream import Stream


def request(person: str, token: int = 5) -> Request:
    version = Version("0", 0, {})
    return Request([token], Sampling(), version, Stream("0"), 10, frozenset(), str, live=True, person=person)


def test_whoever_has_least_under_way_comes_first() -> None:
    line = Line(100)
    for person in ("ann", "ann", "bob", "cid"):
        line.add(request(person), wait=1)
    assert line.take(Counter(ann=3, bob=1, cid=2)).person == "bob"
    assert line.take(Counter(ann=3, cid=2)).person == "cid"
    assert len(line) == 2


def test_among_equals_they_alternate_in_their_own_order() -> None:
    line = Line(100)
    for index, person in enumerate(("ann", "ann", "ann", "bob", "bob")):
        line.add(request(person, token=index), wait=1)
    taken = [line.take(Counter()) for _ in range(5)]
    assert [each.person for each in taken] == ["ann", "bob", "ann", "bob", "ann"]
    assert [each.prompt[0] for each in taken] == [0, 3, 1, 4, 2]


def test_one_person_fills_half_and_two_a_third_each() -> None:
    line = Line(12)

    def fill(person: str) -> int:
        before = len(line)
        with contextlib.suppress(QueueFull):
            for _ in range(20):
                line.add(request(person), wait=7)
        return len(line) - before

    assert fill("ann") == 6
    assert fill("bob") == 3
    assert fill("cid") == 2, "whoever comes next still finds room"
    assert len(line) == 11
    with pytest.raises(QueueFull, match="6 of your requests and 11 in all") as refused:
        line.add(request("ann"), wait=7)
    assert refused.value.wait == 7
    assert refused.value.hint == "Try again in 7 s."


@given(st.lists(st.sampled_from("abc"), max_size=30), st.sets(st.integers(0, 29)))
def test_dropping_takes_out_just_those(people: list[str], out: set[int]) -> None:
    line = Line(1000)
    added = [request(person) for person in people]
    for each in added:
        line.add(each, wait=1)
    leaving = {added[index] for index in out if index < len(added)}
    assert set(line.drop(leaving.__contains__)) == leaving
    assert set(line) == set(added) - leaving
    assert len(line) == len(added) - len(leaving)
    left = [line.take(Counter()) for _ in range(len(line))]
    assert set(left) == set(added) - leaving
