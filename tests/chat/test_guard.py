from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from chat.app import build_app
from chat.people import COOKIE
from chat.settings import ChatSettings
from lm.backend import OwnEngine
from lm.engine import Engine
from lm.loading import Base
from store.database import Store

from .conftest import ENGINE, SAMPLING, Running

FOREIGN = {"Origin": "https://evil.example"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/feedback"),
        ("DELETE", "/v1/feedback"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/upload"),
    ],
)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example"]
)
def test_a_foreign_page_writes_nothing(running: Running, method: str, path: str, origin: str) -> None:
    response = running.client.request(method, path, headers={"Origin": origin}, json={})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "foreign_origin"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/proxy=https://x.hf.space/"]
)
def test_what_the_page_does_without_is_closed(running: Running, path: str) -> None:
    files = {"files": ("a.txt", b"words")}
    for response in (running.client.get(path), running.client.post(path, files=files)):
        assert response.status_code == 404
        assert "content-security-policy" in response.headers


def test_own_pages_and_programs_write(running: Running) -> None:
    for headers in ({"Origin": running.url}, {}):
        assert running.client.post("/v1/feedback", json={}, headers=headers).status_code == 400  # let in, then read


def test_foreign_pages_may_not_read_either(running: Running) -> None:
    for path in ("/", "/v1/models", "/gradio_api/info", "/config"):
        response = running.client.get(path, headers=FOREIGN)
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/", "/v1/models", "/nowhere", "/docs", "/config", "/gradio_api/startup-events"])
def test_every_answer_wears_the_headers(running: Running, path: str) -> None:
    headers = running.client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


def test_large_bodies_are_refused(running: Running) -> None:
    large = b'{"messages": "' + b"x" * 2_000_000 + b'"}'

    def pieces() -> list[bytes]:
        return [large[start : start + 65536] for start in range(0, len(large), 65536)]

    for content in (large, iter(pieces())):  # with its length in the header, and without
        response = running.client.post("/v1/feedback", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 413
        assert response.json()["error"]["message"] == "a request may hold at most 2000000 bytes"


def test_the_page_gives_a_cookie_once(running: Running) -> None:
    with httpx.Client(base_url=running.url) as browser:
        [given] = browser.get("/").headers.get_list("set-cookie")
        name, _, rest = given.partition("=")
        assert name == COOKIE
        assert len(rest.partition(";")[0]) == 65
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(rest.split("; "))
        assert "set-cookie" not in browser.get("/").headers
    with httpx.Client(base_url=running.url) as program:
        assert "set-cookie" not in program.get("/v1/models").headers


@pytest.fixture
async def allowing(store: Store, tiny_base: Base) -> AsyncIterator[httpx.AsyncClient]:
    settings = ChatSettings(allowed_origins=("https://friend.example",))
    app = build_app(store, OwnEngine(Engine(tiny_base, ENGINE)), settings, SAMPLING)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:7860") as client:
        yield client


async def test_a_friend_is_let_in(allowing: httpx.AsyncClient) -> None:
    friend = {"Origin": "https://friend.example"}
    asked = friend | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = await allowing.options("/v1/feedback", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
    written = await allowing.post("/v1/feedback", json={}, headers=friend)
    assert written.status_code == 400
    assert written.headers["access-control-allow-origin"] == "https://friend.example"
    refused = await allowing.options("/v1/feedback", headers=asked | FOREIGN)
    assert "access-control-allow-origin" not in refused.headers
