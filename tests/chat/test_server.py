from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from chat.server import GRACE, claim, url_of
from chat.settings import ChatSettings
from lm.loading import Base
from problems import Problem

from .conftest import Running, running_chat, until


def test_a_taken_port_is_said_before_anything_is_loaded() -> None:
    with claim("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Problem, match=f"port {port}") as refusal:
            claim("127.0.0.1", port)
        assert "--port" in refusal.value.hint


def test_an_unknown_host_is_said() -> None:
    with pytest.raises(Problem, match="no address") as refusal:
        claim("host.invalid", 0)
    assert "--host" in refusal.value.hint
    with pytest.raises(Problem, match="cannot listen"):
        claim("192.0.2.1", 0)


def test_an_answer_does_not_wait_behind_its_own_header(running: Running) -> None:
    """40 ms a request, where the second packet waits for the first one's acknowledgement."""
    [answered] = [running.ask(max_tokens=2).json()["id"]]
    waits = []
    for _ in range(15):
        begun = time.monotonic()
        assert running.client.get("/v1/feedback", params={"id": answered}).status_code == 200
        waits.append(time.monotonic() - begun)
    assert min(waits) < 0.03


def test_the_address_opens_in_a_browser() -> None:
    with claim("0.0.0.0", 0) as everywhere:
        assert url_of(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"
    if socket.has_dualstack_ipv6():
        with claim("::1", 0) as six:
            assert url_of(six).startswith("http://[::1]:")


def test_stopping_waits_for_answers_but_not_for_open_pages(tmp_path: Path, tiny_base: Base) -> None:
    answers: list[httpx.Response] = []
    with ExitStack() as page, running_chat(tmp_path, tiny_base, ChatSettings(), pause=0.02) as chat:
        listening = httpx.Client(timeout=30)
        page.enter_context(listening)
        page.enter_context(listening.stream("GET", f"{chat.url}/gradio_api/heartbeat/tab"))

        def ask() -> None:
            body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 60, "ignore_eos": True}
            answers.append(httpx.post(f"{chat.url}/v1/chat/completions", json=body, timeout=30))

        caller = threading.Thread(target=ask)
        caller.start()
        until(lambda: chat.service.under_way)
        stopped = time.monotonic()
    seconds = time.monotonic() - stopped
    caller.join()
    assert answers[0].json()["choices"][0]["finish_reason"] == "length", "the caller had the whole answer"
    assert seconds < GRACE / 2
