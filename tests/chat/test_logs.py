from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from chat import logs

from .conftest import Running, until


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged as JSON from DEBUG up."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.JsonLines())
    room = logging.getLogger("chat")
    room.addHandler(handler)
    room.setLevel(logging.DEBUG)
    yield written
    room.setLevel(logging.NOTSET)
    room.removeHandler(handler)


def read(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_call_and_its_answer_are_told_without_a_word_of_them(running: Running, lines: io.StringIO) -> None:
    body = {"messages": [{"role": "user", "content": "parcel from Oslo"}], "max_tokens": 3, "user": "Ann of Oslo"}
    headers = {"x-request-id": "call-7", "Authorization": "Bearer hush"}
    response = running.client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.headers["x-request-id"] == "call-7"
    asked = until(lambda: [line for line in read(lines) if line.get("request_id") == "call-7" and "route" in line])[0]
    assert asked["event"] == "request"
    assert (asked["method"], asked["route"], asked["status"]) == ("POST", "/v1/chat/completions", 200)
    assert asked["milliseconds"] > 0
    [answer] = [line for line in read(lines) if line["event"] == "answer"]
    assert answer["request_id"] == "call-7"
    assert (answer["version"], answer["surface"], answer["level"]) == (0, "api", "info")
    assert answer["tokens"] == response.json()["usage"]["completion_tokens"]
    assert re.fullmatch("[0-9a-f]{8}", answer["person"])
    for word in ("Oslo", "hush", response.json()["choices"][0]["message"]["content"]):
        assert word not in lines.getvalue()


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "naïve"])
def test_a_strange_id_is_replaced(running: Running, sent: str) -> None:
    response = running.client.get("/healthz", headers={"x-request-id": sent.encode("latin-1")})  # type: ignore[dict-item]
    assert re.fullmatch("[0-9a-f]{24}", response.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/none", "/metrics", "/gradio_api/upload"])
def test_every_answer_has_an_id(running: Running, path: str) -> None:
    assert running.client.get(path).headers["x-request-id"]
    assert running.client.post(path, headers={"Origin": "http://evil.example"}).headers["x-request-id"]


@pytest.mark.parametrize("formatter", [logs.JsonLines(), logs.TextLines()])
def test_an_error_is_told_without_the_values_of_its_statement(formatter: logging.Formatter) -> None:
    values = ("my secret",)
    try:
        raise IntegrityError("INSERT INTO messages VALUES (?)", values, ValueError("UNIQUE failed"))
    except IntegrityError as error:
        record = logging.LogRecord(
            "chat", logging.ERROR, __file__, 1, "a request failed", (), (type(error), error, None)
        )
    line = formatter.format(record)
    assert "UNIQUE failed" in line
    assert "secret" not in line
    assert len(line.splitlines()) == 1 or isinstance(formatter, logs.TextLines)


def test_text_for_eyes() -> None:
    record = logging.LogRecord("chat.x", logging.INFO, __file__, 1, "answer", (), None)
    record.fields = {"version": 3, "tokens": 9}
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    chat.x: answer version=3 tokens=9", logs.TextLines().format(record))


def test_configuring_hears_the_rooms_and_of_others_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        logs.configure("json", "info")
        logging.getLogger("chat.x").info("ours")
        logging.getLogger("chat.x").debug("too quiet")
        logging.getLogger("other").info("theirs")
        logging.getLogger("other").warning("theirs, and it matters")
    finally:
        root.handlers, root.level = handlers, level
        for room in logs.OURS:
            logging.getLogger(room).setLevel(logging.NOTSET)
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["ours", "theirs, and it matters"]
