"""Streams of events, however the network cuts them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lm.remote.events import LONGEST, Malformed, read_events


async def read(data: bytes, width: int) -> list[dict[str, Any]]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), width):
            yield data[start : start + width]

    return [event async for event in read_events(chunks())]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("width", [1, 7, 1000])
async def test_events_are_whole_however_they_are_cut(end: bytes, width: int) -> None:
    lines = [
        b": ping",
        b"",
        b"event: x",
        'data: {"a": "é"}'.encode(),
        b"id: 3",
        b"",
        b'data:{"b": 2}',
        b"",
        b"data: [DONE]",
    ]
    data = end.join([*lines, b"data: never read", b""])
    assert await read(data, width) == [{"a": "é"}, {"b": 2}]


async def test_a_stream_may_end_without_its_last_line_break() -> None:
    assert await read(b'data: {"a": 1}\n\ndata: {"b": 2}', 5) == [{"a": 1}, {"b": 2}]
    assert await read(b'data: {"a": 1}\n\ndata: [DONE]', 5) == [{"a": 1}]


@pytest.mark.parametrize(
    "data", [b"data: {half\n", b"data: [1]\n", b"data: \xff\n", b"<html>\n", b"x" * (LONGEST + 1), b"data: {half"]
)
async def test_what_is_no_event_is_said(data: bytes) -> None:
    with pytest.raises(Malformed):
        await read(data, 1 << 20)
