from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
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

from .conftest import Running, own_engine, running_chat, until

ROOT = Path(__file__).parents[2]
# `ratchet serve` with an engine that breaks for good at the first request that it reads.
BREAKS = """
import sys
import ratchet
from lm.slots import Slots

read = Slots.next_to_read
def breaks(slots):
    if slots.rows:
        raise RuntimeError("the memory of the machine is gone")
    return read(slots)

Slots.next_to_read = breaks
sys.argv = ["ratchet", "serve", "--port", sys.argv[1]]
ratchet.main()
"""


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

    def seconds() -> float:
        begun = time.monotonic()
        assert running.client.get("/v1/feedback", params={"id": answered}).status_code == 200
        return time.monotonic() - begun

    assert any(seconds() < 0.03 for _ in range(500)), "not once, however busy the machine"


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
    assert seconds < GRACE, "an open page would have held it for so long"


def test_a_broken_engine_is_not_ready_and_refuses_at_once(
    tmp_path: Path, tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = own_engine(tiny_base)

    def breaks(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    with running_chat(tmp_path, tiny_base, ChatSettings(), backend=backend) as chat:
        assert chat.client.get("/readyz").status_code == 200
        monkeypatch.setattr(backend.engine._slots, "next_to_read", breaks)
        answers = [chat.ask(), chat.ask()]
        body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
        answers.append(chat.client.post("/v1/chat/completions", json=body))
        for answer in answers:
            assert answer.status_code == 503, answer.text
            assert answer.json()["error"]["code"] == "backend_unavailable"
            assert "secret" not in answer.text
        assert chat.client.get("/readyz").status_code == 503
        assert chat.client.get("/healthz").status_code == 200
        assert chat.service.under_way == 0


def test_a_server_whose_engine_breaks_ends_with_a_message_and_a_status(tmp_path: Path, tiny_folder: Path) -> None:
    with claim("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    places = {"RATCHET_HOME": str(tmp_path / "home"), "RATCHET_MODEL": str(tiny_folder), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", BREAKS, str(port)], env=os.environ | places, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: server.poll() is not None or _answers(url), 100)
            answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]})
            assert answer.status_code == 503
            status = server.wait(30)
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGKILL)
        assert server.stderr is not None
        said = server.stderr.read()
    assert status == 1, said
    assert "what makes the answers has stopped (RuntimeError: the memory of the machine is gone)" in said
    assert "lm/engine.py" in said, "the log has the cause"


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
