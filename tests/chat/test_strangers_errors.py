"""What failures tell strangers: nothing of the machine's folders; and what is left behind by whoever leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import DataError, OperationalError

from chat.entrance import COOKIE
from chat.errors import explain
from chat.logs import _named
from chat.shown import refusal
from store.database import Store, StoreUnavailable
from store.database import explain as explain_database

from .conftest import Running
from .test_entrance import Browse, browse, locked_app, made

__all__ = ["browse", "locked_app"]

AWAY = explain_database(
    OperationalError("SELECT", {}, Exception("database is locked")), "sqlite:////home/ann/ratchet.db"
)


def test_a_store_that_is_away_is_503_and_names_no_folder() -> None:
    assert isinstance(AWAY, StoreUnavailable)
    status, body, headers = explain(AWAY)
    assert status == 503
    assert "Retry-After" in headers
    assert "/home" not in str(body)
    assert "/home" not in refusal(AWAY)
    assert "log says why" in refusal(AWAY)


def test_a_value_that_no_column_holds_names_no_folder() -> None:
    refused = explain_database(DataError("INSERT", {}, Exception("too long")), "sqlite:////home/ann/ratchet.db")
    status, body, _ = explain(refused)
    assert status == 400
    assert "/home" not in str(body)


def test_a_request_to_a_store_that_is_away(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def away(*_: Any, **__: Any) -> Iterator[None]:
        raise AWAY
        yield

    answered = running.ask(max_tokens=2).json()["id"]
    monkeypatch.setattr(Store, "session", away)
    refused = running.client.get("/v1/feedback", params={"id": answered})
    assert refused.status_code == 503
    assert "/home" not in refused.text
    monkeypatch.undo()
    assert running.client.get("/v1/feedback", params={"id": answered}).status_code == 200


@pytest.mark.parametrize("error", [ValueError("my diary"), KeyError("my diary"), UnicodeError("my diary")])
def test_errors_about_a_value_do_not_quote_it_in_the_log(error: Exception) -> None:
    assert "diary" not in _named(error)
    assert type(error).__name__ in _named(error)
    assert _named(RuntimeError("no memory")) == "RuntimeError: no memory"


async def test_who_leaves_takes_their_cookie_along(browse: Browse, store: Store) -> None:
    browser: httpx.AsyncClient = browse()
    await browser.post("/enter", data={"key": made(store)[0]})
    assert browser.cookies.get(COOKIE)
    assert (await browser.get("/config")).status_code == 200
    left = await browser.get("/logout")
    assert left.status_code == 303
    assert not browser.cookies.get(COOKIE)
    assert (await browser.get("/config")).status_code == 401
