"""What the server says of its own work: a line an event on stderr, as text or JSON, by which a call can be followed.

Every line that a call caused carries its `request_id`, which the answer tells in `x-request-id`. Lines hold ids, counts
and times: never a word of a chat, never a key, and a person only as a short hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import StatementError

OURS = ("chat", "lm", "store", "reward")  # the rooms of a server; other libraries are heard from WARNING up

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def configure(form: str, level: str) -> None:
    """Write the process's log to stderr.

    Args:
        form: "text" or "json".
        level: the least that the rooms' own lines must weigh: "debug", "info", "warning" or "error".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for room in OURS:
        logging.getLogger(room).setLevel(level.upper())


def tell(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields."""
    logger.log(level, event, extra={"fields": fields})


def short(person: str) -> str:
    """Eight hex digits that stand for a person in the log."""
    return hashlib.sha256(person.encode()).hexdigest()[:8]


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, request_id, the event's own fields, error and trace."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if (asked := request_id.get()) is not None:
            line["request_id"] = asked
        line |= getattr(record, "fields", {})
        if (error := _error(record)) is not None:
            line |= {"error": _named(error), "trace": traceback.format_tb(error.__traceback__)}
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """The same for eyes: time, level, event, then field=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(getattr(record, "fields", {}))
        if (asked := request_id.get()) is not None:
            fields["request_id"] = asked
        when = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = f"{when} {record.levelname:<7} {record.name}: {record.getMessage()}"
        text += "".join(f" {name}={value}" for name, value in fields.items() if value is not None)
        if (error := _error(record)) is not None:
            text += f"\n{''.join(traceback.format_tb(error.__traceback__))}{_named(error)}"
        return text


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _named(error: BaseException) -> str:
    """The error's class and words; of a failed statement the driver's words without the values it was to write.

    Errors about a value (pydantic's, JSON's and Unicode's among them) quote it, and it may be what somebody said.
    """
    if isinstance(error, ValueError | LookupError | AssertionError):
        return type(error).__name__
    words = str(error.orig) if isinstance(error, StatementError) else str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
