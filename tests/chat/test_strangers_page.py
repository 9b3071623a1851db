"""What strangers ask of the page: Gradio's other routes, others' sessions, events that no browser would send."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from chat.live import LiveTurns
from chat.logs import TextLines

from .conftest import Running
from .test_entrance import Tab

WORDS = "my secret diary"


def open_routes(app: FastAPI) -> set[tuple[str, str]]:
    """(method, path) of everything that Gradio's application answers to."""
    mounted: Any = app.router.routes[-1]
    routes = list(mounted.app.app.routes)
    found: set[tuple[str, str]] = set()
    for route in routes:
        if (included := getattr(route, "original_router", None)) is not None:
            found |= {(method, f"/gradio_api{each.path}") for each in included.routes for method in each.methods}
        found |= {(method, route.path) for method in getattr(route, "methods", None) or ()}
    return found


ASKED = {"/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/assets/{path:path}"} | {
    "/static/{path:path}",
    "/gradio_api/run/{api_name}",
    "/gradio_api/heartbeat/{session_hash}",
}

OURS = {"/docs", "/openapi.json"}  # answered before the page is asked


def test_every_other_route_of_gradio_is_closed(running: Running, app: FastAPI) -> None:
    others = {(method, path) for method, path in open_routes(app) if path not in ASKED | OURS}
    known = ("deep_link", "gradio_api/queue/data", "gradio_api/upload", "gradio_api/file={path_or_url:path}")
    assert all(any(path.endswith(each) for _, path in others) for each in known)
    for method, path in sorted(others):
        where = re.sub(r"{[^}]*}", "x", path.replace("{path_or_url:path}", "/etc/passwd").replace("{api_name}", "send"))
        response = running.client.request(method, where, params={"session_hash": "x"})
        assert response.status_code in (401, 404), (method, where, response.status_code)


def test_no_chat_is_written_to_a_file_beyond_the_home(running: Running) -> None:
    place = Path(tempfile.gettempdir()) / "gradio"
    before = set(place.rglob("*")) if place.exists() else set()
    with httpx.Client(base_url=running.url, timeout=30) as client:
        client.get("/")
        tab = Tab(client)
        tab.send("Hello")
        assert client.get("/gradio_api/deep_link", params={"session_hash": tab.name}).status_code == 404
    assert (set(place.rglob("*")) if place.exists() else set()) == before


def test_the_name_of_anothers_session_is_of_no_use(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people whose tabs have the same name: each has a session of their own, and both can chat."""
    seen: list[str] = []
    place = LiveTurns.new_place

    def watched(self: LiveTurns, tab: str, made: str) -> Any:
        seen.append(tab)
        return place(self, tab, made)

    monkeypatch.setattr(LiveTurns, "new_place", watched)
    with httpx.Client(base_url=running.url, timeout=30) as ann, httpx.Client(base_url=running.url, timeout=30) as eve:
        ann.get("/")
        eve.get("/")
        hers, stolen = Tab(ann), Tab(eve)
        stolen.name = hers.name
        hers.send("Hello")
        assert eve.get("/gradio_api/queue/data", params={"session_hash": hers.name}).status_code == 404
        stolen.send("Good morning")
        hers.at = ""
        taken = hers.event("send", ["Once more", "", ""]).json()["data"]
        assert "sent already" in str(taken), "a tab is still known by its name"
        with eve.stream("GET", f"/gradio_api/heartbeat/{hers.name}") as held:
            assert held.status_code == 200
    assert len(set(seen)) == 2
    assert hers.name not in seen


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65, "a/b"])
def test_a_heartbeat_has_a_name(running: Running, name: str) -> None:
    assert running.client.get(f"/gradio_api/heartbeat/{name}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"data": [], "session_hash": "a"}',
        b'{"data": [], "session_hash": "a", "fn_index": true}',
        b'{"data": [], "session_hash": "a", "fn_index": 100000}',
        b'{"data": ["my secret diary"], "session_hash": "a", "fn_index": "0"}',
        b'{"data": {"my secret diary": 1}, "session_hash": "a", "fn_index": 0}',
        b'{"data": ["my secret diary"], "session_hash": ["a"], "fn_index": 0}',
        b'{"data": ["a", "b", "c", "d", "e", "f", "g", "h", "i"], "session_hash": "a", "fn_index": 0}',
        b'\xff\xfe{"data": ["my secret diary"]}',
    ],
)
def test_what_is_no_event_of_the_page_is_refused(
    running: Running, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    response = running.client.post(
        "/gradio_api/run/predict", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "this is no event of the page"
    assert "diary" not in "".join(capfd.readouterr())


def test_events_that_fail_tell_the_log_no_words(running: Running, capfd: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()  # to the stderr that is read below
    handler.setFormatter(TextLines())
    logging.getLogger("chat").addHandler(handler)
    try:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            client.get("/")
            tab = Tab(client)
            for name, data, about in (
                ("retry", [[{"role": WORDS, "content": {"a": WORDS}}]], {"index": 0, "value": WORDS}),
                ("retry", [[{"role": "user", "content": WORDS}]], {"index": 7, "value": WORDS}),
                ("edit", [[{"role": "user", "content": WORDS}]], {"index": [WORDS], "value": 3}),
                ("thumb", [WORDS, WORDS], {"index": 0, "value": WORDS}),
                ("thumb", [[], ""], {WORDS: WORDS}),
                ("reasons", [{"a": WORDS}, WORDS], None),
                ("words", [[WORDS], {WORDS: 1}, 3], None),
                ("look", [WORDS, WORDS, json.dumps({"at": {}, "ended": WORDS, "drawn": {"a": WORDS}})], None),
            ):
                assert WORDS not in tab.event(name, data, about).text or name in ("look", "words")
            tab.send("Hello")  # and the page goes on
    finally:
        logging.getLogger("chat").removeHandler(handler)
    told = "".join(capfd.readouterr())
    assert "an event of the page failed" in told
    assert "diary" not in told


def test_the_page_takes_its_address_from_nobody(running: Running) -> None:
    for name in ("X-Forwarded-Host", "X-Gradio-Server", "Forwarded"):
        for path in ("/", "/config"):
            value = "http://evil.example" if name == "X-Gradio-Server" else "evil.example"
            response = running.client.get(path, headers={name: value})
            assert response.status_code == 200
            assert "evil.example" not in response.text


def test_there_is_no_websocket(running: Running) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    response = running.client.get(
        "/gradio_api/queue", headers=upgrade | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    )
    assert response.status_code in (400, 403, 404)
