"""Server-sent events as OpenAI-compatible servers stream them: lines of `data: {JSON}`, then `data: [DONE]`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

LONGEST = 4 << 20  # bytes of one line; an honest server's are a few hundred
FIELDS = (b"event", b"id", b"retry")  # of the format, with nothing in them for us


class Malformed(ValueError):
    """What came is no stream of events."""


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    """The objects of a stream until [DONE] or its end; lines that only keep the connection alive are passed over.

    Raises:
        Malformed: a line is of no event, or holds no JSON object.
    """
    held = b""
    async for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            field, _, value = line.strip().partition(b":")
            if field == b"data":
                if value.strip() == b"[DONE]":
                    return
                yield _object(value)
            elif field and field not in FIELDS:
                raise Malformed(f"a line begins with {line[:40]!r}")
        if len(held) > LONGEST:
            raise Malformed(f"a line is longer than {LONGEST} bytes")
    if held.strip().startswith(b"data:") and held.strip() != b"data: [DONE]":
        yield _object(held.strip().removeprefix(b"data:"))


def _object(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError as error:  # of JSON, or of UTF-8
        raise Malformed(f"an event is no JSON: {value[:40]!r}") from error
    if not isinstance(found, dict):
        raise Malformed(f"an event is no object: {value[:40]!r}")
    return found
