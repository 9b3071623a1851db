"""The line before the slots: turns, shares, and what leaves it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.line import Line, QueueFull
from lm.lora import Version
from lm.request import Request
from lm.settings import Sampling
from lm.stream import Stream


def request(person: str, token: int = 5, door: str = "") -> Request:
    version, stream = Version("0", 0, {}), Stream("0")
    return Request([token], Sampling(), version, stream, 10, frozenset(), str, live=True, person=person, door=door)


def running(door: str = "", **counts: int) -> list[Request]:
    """So many requests of each person under way."""
    return [request(person, door=door) for person, count in counts.items() for _ in range(count)]


def take(line: Line, *under_way: Request) -> Request:
    taken = line.take(under_way)
    assert taken is not None
    return taken


def test_whoever_has_least_under_way_comes_first() -> None:
    line = Line(100)
    for person in ("ann", "ann", "bob", "cid"):
        line.add(request(person), wait=1)
    assert take(line, *running(ann=3, bob=1, cid=2)).person == "bob"
    assert take(line, *running(ann=3, cid=2)).person == "cid"
    assert len(line) == 2


def test_among_equals_they_alternate_in_their_own_order() -> None:
    line = Line(100)
    for index, person in enumerate(("ann", "ann", "ann", "bob", "bob")):
        line.add(request(person, token=index), wait=1)
    taken = [take(line) for _ in range(5)]
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


def test_twenty_names_at_one_door_have_one_turn_and_its_people_share_it() -> None:
    line = Line(100)
    for number in range(20):
        line.add(request(f"name {number}", door="1.2.3.4"), wait=1)
    line.add(request("ann", door="5.6.7.8"), wait=1)
    line.add(request("name 0", door="1.2.3.4"), wait=1)
    assert take(line, *running("1.2.3.4", someone=1)).person == "ann"
    taken = [take(line, *running("1.2.3.4", someone=1)).person for _ in range(21)]
    assert taken[:20] == [f"name {number}" for number in range(20)], "of one door everybody comes before anybody again"


def test_one_door_leaves_places_free_for_another_and_somebody_without_a_door_need_not() -> None:
    line = Line(100, most=3)
    for _ in range(2):
        line.add(request("ann", door="1.2.3.4"), wait=1)
        line.add(request("bob"), wait=1)
    full = running("1.2.3.4", eve=3) + running(bob=9)
    assert [take(line, *full).person for _ in range(2)] == ["bob", "bob"]
    assert line.take(full) is None
    assert take(line, *full[1:]).person == "ann"


def test_one_door_fills_half_of_the_line_however_many_it_says_it_is() -> None:
    line = Line(12)
    with contextlib.suppress(QueueFull):
        for number in range(20):
            line.add(request(f"name {number}", door="1.2.3.4"), wait=1)
    assert len(line) == 6


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
    left = [take(line) for _ in range(len(line))]
    assert set(left) == set(added) - leaving
