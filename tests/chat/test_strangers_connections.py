"""Connections that are held open: headers and bodies that never end, and silence."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from chat.connections import Bounded

from .conftest import Running

SOON = 1.0
BODY = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}).encode()
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n"
)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bounded, "seconds", SOON)


def connect(running: Running) -> socket.socket:
    parts = urlsplit(running.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def ended(held: socket.socket) -> bool:
    """Whether the server ends a connection; what it says before that is read away."""
    try:
        while held.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", HEAD.encode(), f"{HEAD}\r\n".encode() + BODY[:9]],
    ids=["nothing", "half a line", "half of the headers", "headers", "half a body"],
)
def test_a_request_that_never_ends_is_given_up(running: Running, hurried: None, sent: bytes) -> None:
    with connect(running) as held:
        held.sendall(sent)
        begun = time.monotonic()
        assert ended(held)  # or the socket's own 20 s are over, which raises
        assert time.monotonic() - begun >= SOON / 2


@pytest.mark.parametrize("head", ["GET / HTTP/1.1\r\nHost: localhost\r\n", f"{HEAD}\r\n"])
def test_a_request_that_trickles_is_given_up(running: Running, hurried: None, head: str) -> None:
    with connect(running) as held:
        held.sendall(head.encode())
        for _ in range(200):
            try:
                held.sendall(b"X")
                time.sleep(0.05)
            except OSError:
                return
    pytest.fail("a byte now and then held it for ten seconds")


def test_others_are_answered_while_hundreds_are_half_open(running: Running) -> None:
    with ExitStack() as all_of_them:
        for _ in range(300):
            all_of_them.enter_context(connect(running)).sendall(b"GET / HT")
        assert running.ask(max_tokens=2).status_code == 200


def test_an_answer_may_take_longer_than_a_request(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tab's stream, and a second request on the connection of the first."""
    monkeypatch.setattr(Bounded, "seconds", 0.3)
    with running.client.stream("GET", "/gradio_api/heartbeat/tab") as held:
        beats = held.iter_text()
        assert "ALIVE" in next(beats)
        time.sleep(1.0)
        assert not held.is_closed
        with connect(running) as kept:
            for _ in range(2):
                kept.sendall(f"{HEAD}\r\n".encode() + BODY)
                assert kept.recv(4096).startswith(b"HTTP/1.1 200")
                time.sleep(0.5)
                kept.setblocking(False)
                try:
                    while kept.recv(4096):
                        pass
                    pytest.fail("it was closed between two requests")
                except BlockingIOError:
                    kept.setblocking(True)
