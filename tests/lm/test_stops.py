"""Stop texts are found wherever the pieces break, and never shown in part."""

from __future__ import annotations

import itertools

import pytest

from lm.stops import Stops


@pytest.mark.parametrize("stop", [("END",), ("ND", "END"), ("\n\n", "E")])
def test_however_the_text_is_cut_it_ends_before_the_first_stop_text(stop: tuple[str, ...]) -> None:
    text = "one ENE two END three"
    expected = text[: min(place for place in map(text.find, stop) if place >= 0)]
    for first, second in itertools.combinations(range(len(text) + 1), 2):
        stops = Stops(stop)
        shown = "".join(stops.push(piece) for piece in (text[:first], text[first:second], text[second:]))
        assert shown + stops.finish() == expected
        assert stops.stopped


def test_what_only_began_like_a_stop_text_is_shown_at_the_end() -> None:
    stops = Stops(("END",))
    assert stops.push("the EN") == "the "
    assert (stops.finish(), stops.finish(), stops.stopped) == ("EN", "", False)


def test_without_stop_texts_everything_is_shown_at_once() -> None:
    assert Stops(()).push("E") == "E"
