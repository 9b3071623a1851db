from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from chat.app import build_app
from chat.entrance import COOKIE, TRIES, form
from chat.people import COOKIE as PERSON_COOKIE
from chat.people import of_cookie
from chat.settings import ChatSettings
from lm.loading import Base
from store.conversations import person
from store.database import Store
from store.keys import add_key, page_token, revoke_key
from store.ratings import present
from store.schema import Generation

from .conftest import SAMPLING, Running, last_generation, own_engine, running_chat, until


class Form(HTMLParser):
    """The forms of a page, the fields in them, and whatever would be fetched or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[dict[str, str | None]] = []
        self.fields: list[dict[str, str | None]] = []
        self.foreign: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self.forms.append(dict(attrs))
        elif tag == "input":
            self.fields.append(dict(attrs))
        if tag in ("script", "link", "img", "iframe") or any(name.startswith("on") for name, _ in attrs):
            self.foreign.append(tag)


def made(store: Store, *scopes: str, name: str | None = None) -> tuple[str, str]:
    """A key's secret and its id."""
    with store.session() as session:
        whom = None if name is None else person(session, None, name).id
        key, secret = add_key(session, "a browser", scopes or ("chat", "rate"), whom)
        return secret, key.id


Browse = Callable[..., httpx.AsyncClient]


@pytest.fixture
def locked_app(store: Store, tiny_base: Base) -> FastAPI:
    settings = ChatSettings(title="Chat & <Co>", require_key=True, allowed_hosts=("chat.example",))
    return build_app(store, own_engine(tiny_base), settings, SAMPLING)


@pytest.fixture
async def browse(locked_app: FastAPI) -> AsyncIterator[Browse]:
    """Makes browsers: cookies of their own, an address of their own."""
    opened: list[httpx.AsyncClient] = []

    def at(address: str = "10.0.0.1", url: str = "http://localhost:7860") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(locked_app, client=(address, 1))
        opened.append(httpx.AsyncClient(transport=transport, base_url=url))
        return opened[-1]

    yield at
    for each in opened:
        await each.aclose()


async def test_the_form_is_filled_in_once_and_the_page_is_there(store: Store, browse: Browse) -> None:
    browser = browse()
    first = await browser.get("/")
    assert first.status_code == 401
    assert first.headers["content-type"].startswith("text/html")
    assert first.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in first.headers["content-security-policy"]
    seen = Form(first.text)
    [asked], [field] = seen.forms, seen.fields
    assert (asked["method"], asked["action"], field["name"], field["type"]) == ("post", "/enter", "key", "password")
    assert seen.foreign == []
    assert "<title>Chat &amp; &lt;Co&gt;</title>" in first.text

    secret, _ = made(store)
    headers = {"Origin": "http://localhost:7860"}
    entered = await browser.request(str(asked["method"]), str(asked["action"]), data={"key": secret}, headers=headers)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    [given] = entered.headers.get_list("set-cookie")
    assert given.startswith(f"{COOKIE}={page_token(secret)};")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(given.split("; "))
    assert "Secure" not in given
    assert secret not in given
    assert "gradio" in (await browser.get("/")).text
    assert (await browser.get("/config")).status_code == 200


async def test_the_cookie_is_secure_on_https(store: Store, browse: Browse) -> None:
    entered = await browse(url="https://chat.example").post("/enter", data={"key": made(store)[0]})
    assert "Secure" in entered.headers["set-cookie"].split("; ")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"key=", "application/x-www-form-urlencoded"),
        (b"key=rk-" + b"x" * 43, "application/x-www-form-urlencoded"),
        (b"other=1", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 1000), "application/x-www-form-urlencoded"),
        (b"key=%ff%00%ed%a0%80", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/octet-stream"),
        (b'{"key": 1}', "application/json"),
    ],
)
async def test_what_is_no_key_is_asked_for_again(browse: Browse, content: bytes, kind: str) -> None:
    response = await browse().post("/enter", content=content, headers={"Content-Type": kind})
    assert response.status_code == 401
    assert "unknown or revoked" in response.text
    assert len(Form(response.text).forms) == 1
    assert "set-cookie" not in response.headers


async def test_a_key_that_may_not_chat_does_not_enter(store: Store, browse: Browse) -> None:
    secret, _ = made(store, "rate")
    browser = browse()
    response = await browser.post("/enter", data={"key": secret})
    assert response.status_code == 403
    assert "lacks the scope chat" in response.text
    browser.cookies.set(COOKIE, page_token(secret))  # worked out by its holder
    for path in ("/", "/config"):
        assert (await browser.get(path)).status_code == 403


async def test_foreign_pages_enter_nobody(store: Store, browse: Browse) -> None:
    headers = {"Origin": "https://evil.example"}
    response = await browse().post("/enter", data={"key": made(store)[0]}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign_origin")
    assert "set-cookie" not in response.headers


async def test_who_tries_too_often_waits_and_others_do_not(store: Store, browse: Browse) -> None:
    secret, _ = made(store)
    hasty, other = browse("10.0.0.7"), browse("10.0.0.8")
    for _ in range(TRIES):
        assert (await hasty.post("/enter", data={"key": "guess"})).status_code == 401
    forwarded = {"X-Forwarded-For": "10.0.0.9", "Forwarded": "for=10.0.0.9"}
    for headers in ({}, forwarded):  # what the caller says of their address is not believed
        stopped = await hasty.post("/enter", data={"key": secret}, headers=headers)
        assert stopped.status_code == 429
        assert 1 <= int(stopped.headers["retry-after"]) <= 61
        assert "Too many" in stopped.text
    assert (await other.post("/enter", data={"key": secret})).status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "0" * 64, "é", "a" * 5000])
async def test_a_cookie_made_up_opens_nothing(store: Store, browse: Browse, cookie: str) -> None:
    made(store)
    headers = {"Cookie": f"{COOKIE}={cookie}".encode("latin-1")}
    for path in ("/", "/config", "/gradio_api/queue/data"):
        response = await browse().get(path, headers=headers)  # type: ignore[arg-type]
        assert response.status_code == 401


async def test_the_cookie_is_no_key_and_the_key_is_no_cookie(store: Store, browse: Browse) -> None:
    secret, _ = made(store)
    browser = browse()
    browser.cookies.set(COOKIE, page_token(secret))
    assert (await browser.get("/config")).status_code == 200
    assert (await browser.get("/v1/models")).status_code == 401
    bearer = {"Authorization": f"Bearer {page_token(secret)}"}
    assert (await browse().get("/v1/models", headers=bearer)).status_code == 401
    assert (await browse().get("/config", headers={"Authorization": f"Bearer {secret}"})).status_code == 401
    swapped = browse()
    swapped.cookies.set(COOKIE, secret)
    assert (await swapped.get("/config")).status_code == 401


async def test_where_no_key_is_needed_nobody_is_asked(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert Form(page.text).forms == []
        assert (await client.post("/enter", data={"key": "x"})).status_code in (404, 405)


def test_what_is_said_above_the_form_is_text() -> None:
    assert "<b>" not in bytes(form("t", "<b>", status=200).body).decode()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base) -> Iterator[Running]:
    settings = ChatSettings(pair_share=0.0, require_key=True)
    with running_chat(tmp_path_factory.mktemp("locked"), tiny_base, settings) as it:
        yield it


class Tab:
    """A browser's tab at the page: what the page's own script sends, without the browser."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        config = client.get("/config").json()
        self.numbers = {each["api_name"]: each["id"] for each in config["dependencies"]}
        self.two = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "two")
        self.at = ""  # the open conversation
        self.name = secrets.token_hex(8)

    def event(self, name: str, data: list[Any], event_data: Any = None, trigger: int | None = None) -> httpx.Response:
        """An event that is answered by its own request."""
        body = {"data": data, "fn_index": self.numbers[name], "session_hash": self.name, "event_data": event_data}
        return self.client.post("/gradio_api/run/predict", json=body | {"trigger_id": trigger})

    def send(self, text: str, *, two: bool = False) -> list[dict[str, Any]]:
        """Ask, and wait for the end of the answer, or of both; the conversation as it is shown then."""
        asked = self.event("send", [text, self.at, self.at], trigger=self.two if two else None)
        _, taken, made, _ = asked.json()["data"]
        assert taken == text
        self.at = self.at or made

        def shown() -> list[dict[str, Any]] | None:
            _, chat, pair, _, _, verdict, *_ = self.event("look", [self.at, self.at, None]).json()["data"]
            there: list[dict[str, Any]] = chat["value"]
            answered = there[-1]["role"] == "assistant" and there[-1]["metadata"].get("id")
            return there if answered or (pair["visible"] and verdict["visible"]) else None

        return until(shown)

    def waiting(self) -> str:
        """The id of the left one of two answers that wait for a verdict."""
        return str(self.event("look", [self.at, self.at, None]).json()["data"][9]["value"])


@contextmanager
def at_page(running: Running, secret: str) -> Iterator[Tab]:
    """A browser that has entered with this key."""
    with httpx.Client(base_url=running.url, timeout=30) as client:
        client.get("/")  # gives the person's cookie
        assert client.post("/enter", data={"key": secret}).status_code == 303
        yield Tab(client)


def test_whom_the_key_speaks_for_chats_and_rates_at_the_page(locked: Running) -> None:
    secret, _ = made(locked.store, name="Ann")
    with at_page(locked, secret) as tab:
        shown = tab.send("Hello")
        kept = until(lambda: last_generation(locked.store, "Ann"))
        assert (kept.surface, kept.messages[-1]["content"]) == ("page", "Hello")
        assert tab.event("thumb", [shown, ""], {"index": 1, "value": "", "liked": True}).status_code == 200
    with locked.store.session(reading=True) as session:
        ann = person(session, None, "Ann").id
        assert [each.kind for each in present(session, kept.id, ann)] == ["thumb"]
    with at_page(locked, secret) as elsewhere:  # another browser, the same person
        [opened] = elsewhere.event("start", [None]).json()["data"]
        assert "Hello" in elsewhere.event("look", [opened, "", None]).text


def test_a_key_of_nobody_leaves_the_page_to_the_cookie(locked: Running) -> None:
    secret, _ = made(locked.store)
    with at_page(locked, secret) as tab:
        tab.send("Good morning")
        somebody = of_cookie(str(tab.client.cookies.get(PERSON_COOKIE)))
    assert until(lambda: last_generation(locked.store, somebody)).messages[-1]["content"] == "Good morning"


def test_a_key_that_may_not_rate_does_not_rate_at_the_page(locked: Running) -> None:
    secret, _ = made(locked.store, "chat", name="Bo")
    with at_page(locked, secret) as tab:
        shown = tab.send("Hello")
        kept = until(lambda: last_generation(locked.store, "Bo"))
        answer = tab.event("thumb", [shown, ""], {"index": 1, "value": "", "liked": True})
        assert "lacks the scope rate" in answer.text
        tab.event("reasons", [["Clear"], shown[1]["metadata"]["id"]])
        tab.event("words", ["a comment", "a correction", shown[1]["metadata"]["id"]])
        tab.send("And now?", two=True)
        tab.event("judge", [None, tab.waiting()])
    with locked.store.session(reading=True) as session:
        theirs = session.scalars(select(Generation).where(Generation.person_id == kept.person_id)).all()
        assert len(theirs) == 3
        assert [rating for each in theirs for rating in present(session, each.id)] == []


def test_a_revoked_key_ends_its_pages(locked: Running) -> None:
    secret, key_id = made(locked.store, name="Carl")
    with at_page(locked, secret) as tab:
        tab.send("Hello")
        with locked.store.session() as session:
            revoke_key(session, key_id)
        until(lambda: tab.client.get("/config").status_code == 401)
        assert tab.event("start", [None]).status_code == 401
        assert len(Form(tab.client.get("/").text).forms) == 1
        assert re.search("needs a key", tab.client.post("/gradio_api/queue/join", json={}).text)
