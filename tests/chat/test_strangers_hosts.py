"""Names that are not the server's: pages of other sites that had their own name point here (DNS rebinding)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from chat.guard import Guard
from chat.hosts import Hosts, check_reach, host_of, is_loopback, reach
from chat.settings import ChatSettings
from problems import Problem

from .conftest import Running

ROOT = Path(__file__).parents[2]
OWN = socket.gethostname().lower()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "path", ["/", "/v1/models", "/metrics", "/healthz", "/docs", "/v1/feedback", "/config", "/gradio_api/run/predict"]
)
def test_a_foreign_name_reads_and_writes_nothing(running: Running, method: str, path: str) -> None:
    port = running.url.rpartition(":")[2]
    for headers in ({}, {"Origin": f"http://evil.example:{port}"}):
        response = running.client.request(method, path, headers={"Host": f"evil.example:{port}", **headers})
        assert response.status_code == 421
        assert "set-cookie" not in response.headers
        if method != "HEAD":
            assert "allowed_hosts" in response.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST", "localhost.", "[::1]", "127.0.0.1:1"])
def test_loopback_answers_to_its_own_names(running: Running, host: str) -> None:
    port = running.url.rpartition(":")[2]
    called = host if host.endswith(":1") else f"{host}:{port}"
    assert running.client.get("/v1/models", headers={"Host": called}).status_code == 200


def test_no_name_and_two_names_are_refused(running: Running) -> None:
    port = int(running.url.rpartition(":")[2])
    for lines in ("GET /v1/models HTTP/1.0", "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(f"{lines}\r\nConnection: close\r\n\r\n".encode())
            assert plain.recv(100).startswith(b"HTTP/1.1 400")


async def reached(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that lets everything through."""
    assert scope["type"] == "websocket"
    await WebSocket(scope, receive, send).accept()


async def test_a_websocket_is_held_to_the_same_names() -> None:
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message["type"])

    guard = Guard(reached, ChatSettings())
    scope = {"type": "websocket", "path": "/", "query_string": b"", "extensions": {"websocket.http.response": {}}}
    for host, answer in ((b"evil.example", "websocket.http.response.start"), (b"localhost", "websocket.accept")):
        sent.clear()
        await guard(scope | {"headers": [(b"host", host)]}, receive, send)  # type: ignore[arg-type]
        assert sent[0] == answer


@pytest.fixture
async def everywhere() -> AsyncIterator[httpx.AsyncClient]:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    settings = ChatSettings(host="0.0.0.0", open_to_all=True, allowed_hosts=("Chat.example",))
    transport = httpx.ASGITransport(Guard(answer, settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://chat.example") as client:
        yield client


async def test_beyond_loopback_names_are_checked_too(everywhere: httpx.AsyncClient) -> None:
    for host in ("chat.example", f"{OWN}:80", "192.0.2.7:7860", "[2001:db8::1]:80", "localhost"):
        assert (await everywhere.get("/", headers={"Host": host})).status_code == 200
        own = {"Host": host, "Origin": f"http://{host}"}
        assert (await everywhere.post("/", headers=own)).status_code == 200
        foreign = {"Host": host, "Origin": "https://evil.example"}
        assert (await everywhere.post("/", headers=foreign)).status_code == 403
    for host in ("evil.example", "chat.example.evil.example", "chat.example@evil.example", "x:y", "[::1", ""):
        assert (await everywhere.get("/", headers={"Host": host})).status_code in (400, 421)


@pytest.mark.parametrize(
    ("header", "name"), [("A:1", "a"), ("[::1]:1", "::1"), ("[::1]x", ""), ("a:b", ""), ("", ""), (":80", "")]
)
def test_the_name_in_a_header(header: str, name: str) -> None:
    assert host_of(header) == name


def test_what_loopback_is() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "127.0.0.2"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.0.2.1", "", "host.invalid"))
    assert Hosts(ChatSettings(host="127.0.0.2")).known("127.0.0.2:7860")


def test_strangers_are_let_in_by_choice_alone() -> None:
    with pytest.raises(Problem, match="nobody would be asked for a key") as refusal:
        check_reach(ChatSettings(host="0.0.0.0"))
    assert "RATCHET_CHAT_REQUIRE_KEY" in refusal.value.hint
    assert "--open-to-all" in refusal.value.hint
    for settings in (
        ChatSettings(),
        ChatSettings(host="0.0.0.0", require_key=True),
        ChatSettings(host="0.0.0.0", open_to_all=True),
    ):
        check_reach(settings)


def test_what_is_said_of_the_reach() -> None:
    assert reach(ChatSettings(), 7860) == ""
    keyed = reach(ChatSettings(host="0.0.0.0", require_key=True), 7860)
    assert f"http://{socket.gethostname()}:7860" in keyed
    assert "ask for a key" in keyed
    assert "OPEN TO ALL" in reach(ChatSettings(host="192.0.2.1", open_to_all=True), 7860)


def test_the_command_refuses_before_it_loads_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ratchet", "serve", "--host", "0.0.0.0", "--port", "0", "--json"]
    ended = subprocess.run(
        [*command, "--home", str(tmp_path / "home")], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert ended.returncode == 2
    assert "nobody would be asked for a key" in json.loads(ended.stdout.splitlines()[-1])["error"]
    assert not (tmp_path / "home").exists()
