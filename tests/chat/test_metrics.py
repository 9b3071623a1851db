from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from chat.app import build_app
from chat.settings import ChatSettings
from lm.figures import Figures
from lm.loading import Base
from store.database import Store

from .conftest import SAMPLING, Running, own_engine

FIGURES = Figures(8, 3, 2, 100, 40, 60, {"stop": 5, "failed": 1}, ["0", "1"], 4096)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_calls_answers_and_ratings_are_counted(running: Running) -> None:
    before = samples(running.client.get("/metrics").text)
    answered = running.ask(max_tokens=3).json()["id"]
    running.client.post("/v1/feedback", json={"id": answered, "kind": "thumb", "value": 1})
    running.client.get("/v1/models/ratchet@7")
    running.client.get("/v1/no/such/route")
    response = running.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    after = samples(response.text)

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0)

    total = "ratchet_http_requests_total"
    assert grown(total, method="POST", route="/v1/chat/completions", status="200") == 1
    assert grown(total, method="GET", route="/v1/models/{model}", status="404") == 1
    assert grown(total, method="GET", route="unknown", status="404") == 1
    assert grown("ratchet_ratings_total", surface="api", kind="thumb") == 1
    for name in ("ratchet_answer_seconds", "ratchet_time_to_first_token_seconds", "ratchet_queue_wait_seconds"):
        assert grown(f"{name}_count", surface="api") == 1
        assert grown(f"{name}_sum", surface="api") >= 0
    assert after["ratchet_serving_version", ()] == 0
    assert after["ratchet_versions_held", ()] == 1


async def test_the_engines_figures(store: Store, tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = own_engine(tiny_base)
    monkeypatch.setattr(backend, "figures", lambda: FIGURES)
    app = build_app(store, backend, ChatSettings(), SAMPLING)
    app.state.service.watcher.refused[3] = "gone"
    found = samples(await text_of(app))
    for name, value in {
        "ratchet_slots": 8,
        "ratchet_requests_running": 3,
        "ratchet_requests_waiting": 2,
        "ratchet_prompt_tokens_total": 100,
        "ratchet_cached_tokens_total": 40,
        "ratchet_generated_tokens_total": 60,
        "ratchet_prefix_cache_bytes": 4096,
        "ratchet_versions_refused": 1,
    }.items():
        assert found[name, ()] == value
    assert found["ratchet_answers_total", (("ended", "stop"),)] == 5
    assert found["ratchet_base_info", (("base", tiny_base.id),)] == 1


async def test_two_applications_count_apart(store: Store, tiny_base: Base, app: FastAPI) -> None:
    other = build_app(store, own_engine(tiny_base), ChatSettings(), SAMPLING)
    await text_of(app)
    key = ("ratchet_http_requests_total", (("method", "GET"), ("route", "/metrics"), ("status", "200")))
    assert samples(await text_of(app))[key] == 1
    assert key not in samples(await text_of(other))


async def text_of(app: FastAPI) -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return (await client.get("/metrics")).text
