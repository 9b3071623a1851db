from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from chat.app import build_app
from chat.settings import ChatSettings
from lm.backend import OwnEngine
from lm.engine import Engine
from lm.loading import Base
from lm.settings import EngineSettings
from problems import Problem
from store.database import Store, open_store
from store.versions import ensure_base

from .conftest import SAMPLING, Running


def test_health_names_the_version(running: Running) -> None:
    assert running.client.get("/healthz").json() == {"ok": True, "version": 0, "model": "ratchet@0", "refused": []}
    assert running.client.get("/readyz").json() == {"ready": True, "version": 0}


async def test_not_ready_before_it_is_started(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/readyz")).status_code == 503


def test_the_reference_names_every_route_and_asks_nothing_of_others(running: Running) -> None:
    page = running.client.get("/docs").text
    for route in ("/v1/chat/completions", "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics"):
        assert route in page
    assert "max_completion_tokens" in page
    assert "http" not in page.replace("http-equiv", "")


def test_unknown_routes_are_answered_in_shape(running: Running) -> None:
    response = running.client.post("/v1/nothing", json={})
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/feedback", "DELETE, GET, POST"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_wrong_methods_are_answered_in_shape(running: Running, method: str, path: str, allowed: str) -> None:
    response = running.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert path in response.json()["error"]["message"]


def test_a_store_of_another_base_is_refused(tmp_path: Path, tiny_base: Base) -> None:
    store = open_store(tmp_path)
    with store.session() as session:
        ensure_base(session, "other", "0123")
    with pytest.raises(Problem, match="other"):
        build_app(store, OwnEngine(Engine(tiny_base)), ChatSettings(), SAMPLING)
    store.close()


async def test_what_nobody_foresaw_says_nothing_of_the_inside(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: bool) -> list[str]:
        raise RuntimeError("secret")

    monkeypatch.setattr(app.state.service.watcher, "models", fail)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/v1/models")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text
    assert response.headers["x-request-id"]
    assert "secret" in caplog.text


async def test_a_full_queue_says_when_to_come_back(store: Store, tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=1, queue=1, context=512))
    app = build_app(store, OwnEngine(engine), ChatSettings(), SAMPLING)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        body = {"messages": [{"role": "user", "content": "Hello"}], "n": 2}
        response = await client.post("/v1/chat/completions", json=body)  # nothing takes the first from the queue
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["code"] == "queue_full"
    with engine:
        await app.state.service.drain()
