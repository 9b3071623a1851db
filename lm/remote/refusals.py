"""What a server elsewhere says when it does not answer, as a Problem that names no secret."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from lm.line import QueueFull, Unavailable
from problems import Problem

HINT = "Start it, or set backend.kind = engine."
LONGEST = 300  # characters of a server's own words
PATIENCE = 3600  # seconds; nobody is told to wait longer


class Unknown(Unavailable):
    """The server has no model of this name, or no such route."""


def refusal(response: httpx.Response, key: str, event: dict[str, Any] | None = None) -> Problem:
    """What to tell whoever asked.

    Args:
        response: read to its end, unless `event` is given.
        key: stands in no message, even if the server repeats it.
        event: an error that came in the midst of a stream.
    """
    said = words(response if event is None else event, key)
    tail = f": {said}" if said else "."
    if event is not None:
        return Unavailable(f"The server that makes the answers failed{tail}", hint="Try again.")
    status = response.status_code
    if status == 429:
        wait = _seconds(response.headers.get("Retry-After", ""))
        return QueueFull(f"The server that makes the answers is full{tail}", wait)
    if status in (401, 403):
        return Unavailable("The server that makes the answers refuses the key.", hint="Set backend.key.")
    if status == 404:
        return Unknown(
            f"The server that makes the answers does not know the model{tail}",
            hint="Set backend.model to a name that it lists, and backend.url to where its /v1 is.",
        )
    if 400 <= status < 500:
        return Problem(f"The server that makes the answers refuses this request{tail}", hint="Change the request.")
    return Unavailable(f"The server that makes the answers failed with status {status}{tail}", hint=HINT)


def words(said: httpx.Response | dict[str, Any], key: str) -> str:
    """The server's own words on one line, shortened, without the key; empty where it has none."""
    if isinstance(said, httpx.Response):
        try:
            content: Any = said.json()
        except ValueError:
            content = "" if "html" in said.headers.get("Content-Type", "") else said.text
    else:
        content = said
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and content.get(name):
            content = content[name]
    text = " ".join((content if isinstance(content, str) else str(content) if content else "").split())
    if key:
        text = text.replace(key, "***")
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _seconds(retry_after: str) -> int:
    """Retry-After is seconds or a date (RFC 9110, 10.2.3); 1 where it is neither."""
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except ValueError:
            wait = 1
    return min(max(1, math.ceil(wait)), PATIENCE) if math.isfinite(wait) else 1
