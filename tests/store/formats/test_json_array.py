from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.formats import json_array
from store.formats.json_array import values

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(LEAVES, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=8)
SPACE = st.text(" \t\n\r", max_size=3)


class Trickle(io.BytesIO):
    """A file that gives a few bytes at a time, wherever they end."""

    def __init__(self, content: bytes, piece: int) -> None:
        super().__init__(content)
        self.piece = piece

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.piece)


@given(st.lists(VALUES, max_size=5), SPACE, st.integers(1, 9), st.booleans(), st.booleans())
def test_an_array_comes_out_whole_wherever_the_pieces_end(
    array: list[Any], space: str, piece: int, marked: bool, plain: bool
) -> None:
    parts = f"{space},{space}".join(json.dumps(each, ensure_ascii=plain) for each in array)
    text = f"{space}[{space}{parts}{space}]{space}"
    content = text.encode("utf-8-sig" if marked else "utf-8", "surrogatepass")
    assert list(values(Trickle(content, piece))) == array


@given(st.lists(VALUES, max_size=4), st.integers(1, 9), st.data())
def test_a_part_of_an_array_is_an_error_where_the_decoder_would_see_one(
    array: list[Any], piece: int, data: st.DataObject
) -> None:
    text = json.dumps(array, indent=1)
    cut = text[: data.draw(st.integers(0, len(text) - 1))] + data.draw(st.sampled_from(["", "x", "]]", ",", '"']))
    try:
        whole = json.loads(cut)
    except json.JSONDecodeError:
        with pytest.raises(json.JSONDecodeError):
            list(values(Trickle(cut.encode(), piece)))
    else:
        if isinstance(whole, list):
            assert list(values(Trickle(cut.encode(), piece))) == whole


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[{"a": 1},\n {"a": 2},\n {"a" 3}]', 3, 7),
        ("[1,\n2 3]", 2, 3),
        ("[1]\n\n x", 3, 2),
        ("[1,]", 1, 4),
        ("[", 1, 2),
        ("{}", 1, 1),
        ("", 1, 1),
    ],
)
def test_an_error_names_its_place_in_the_file(text: str, line: int, column: int) -> None:
    for piece in (1, 100):
        with pytest.raises(json.JSONDecodeError) as caught:
            list(values(Trickle(text.encode(), piece)))
        assert (caught.value.lineno, caught.value.colno) == (line, column)


def test_bytes_that_are_no_utf_8_are_counted_from_the_start_of_the_file() -> None:
    for piece in (1, 4, 100):
        with pytest.raises(UnicodeDecodeError) as caught:
            list(values(Trickle('["é", "'.encode() + b'\xff"]', piece)))
        assert caught.value.start == 8


class Long(io.RawIOBase):
    """An array of a great many elements that is nowhere whole."""

    def __init__(self, number: int, element: bytes) -> None:
        self.left = number
        self.element = element

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            return b""
        count = min(self.left, max(1, size // len(self.element)))
        first = self.left == 200_000
        self.left -= count
        joined = b",".join([self.element] * count)
        return (b"[" if first else b",") + joined + (b"" if self.left else b"]")


def peak(found: Iterator[Any]) -> tuple[int, int]:
    tracemalloc.start()
    try:
        number = sum(1 for _ in found)
        return number, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_holds_an_element_and_not_the_array() -> None:
    number, most = peak(values(Long(200_000, b'{"prompt": "' + b"x" * 200 + b'"}')))  # type: ignore[arg-type]
    assert number == 200_000
    assert most < 2_000_000


def test_an_error_in_a_long_file_is_found_without_reading_on() -> None:
    file = io.BytesIO(b'[{"a": 1}, {"a" 2}' + b', {"a": 3}' * 1_000_000 + b"]")
    with pytest.raises(json.JSONDecodeError):
        list(values(file))
    assert file.tell() <= 2 * json_array.PIECE


def test_a_long_element_takes_linear_time() -> None:
    text = json.dumps(["x" * 20_000_000, 1]).encode()
    assert [len(str(each)) for each in values(io.BytesIO(text))] == [20_000_000, 1]
