"""Cookies that the server never gave out."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from chat.people import COOKIE, of_cookie
from chat.person_cookie import PersonCookie
from store.conversations import person
from store.database import Store
from store.restore import restore
from store.schema import Person
from store.secret import FILE, secret_of

from .conftest import Running, last_generation
from .test_entrance import Tab

OLD = "0123456789abcdef" * 2  # as earlier editions gave them out


@pytest.mark.parametrize("invented", ["x", "f" * 32, "f" * 32 + "." + "0" * 32, "", "a.b.c", "\xe9", "f" * 4000])
def test_an_invented_cookie_is_replaced(running: Running, invented: str) -> None:
    headers = {"Cookie": f"theme=dark; {COOKIE}={invented}; a=b".encode("latin-1")}
    [given] = httpx.get(running.url, headers=headers).headers.get_list("set-cookie")  # type: ignore[arg-type]
    assert given.startswith(f"{COOKIE}=")
    assert not given.startswith(f"{COOKIE}={invented};")
    answer = httpx.post(
        f"{running.url}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2},
        headers=headers,  # type: ignore[arg-type]
        timeout=30,
    )
    assert answer.status_code == 200
    with running.store.session(reading=True) as session:
        assert session.get(Person, of_cookie(invented)) is None
    assert running.generation(answer.json()["id"]).person_id != of_cookie(invented)


def test_a_cookie_that_was_given_out_holds(running: Running) -> None:
    with httpx.Client(base_url=running.url, timeout=30) as browser:
        browser.get("/")
        given = str(browser.cookies.get(COOKIE))
        Tab(browser).send("Hello")
        assert "set-cookie" not in browser.get("/").headers
    assert last_generation(running.store, of_cookie(given)) is not None


def test_an_old_cookie_of_somebody_stays_good(running: Running) -> None:
    with running.store.session() as session:
        person(session, of_cookie(OLD))
    with httpx.Client(base_url=running.url, timeout=30) as browser:
        browser.cookies.set(COOKIE, OLD)
        assert "set-cookie" not in browser.get("/").headers
        Tab(browser).send("Hello again")
    assert last_generation(running.store, of_cookie(OLD)) is not None


async def test_two_servers_of_a_home_know_each_others_cookies(store: Store, tmp_path: Path) -> None:
    first, second = PersonCookie(FastAPI(), store), PersonCookie(FastAPI(), store)
    assert await second.is_ours(first.new())
    given = first.new()
    assert not await second.is_ours(given[:-1] + ("0" if given[-1] != "0" else "1"))
    assert not await second.is_ours(given.partition(".")[0])
    assert stat.S_IMODE((store.home / FILE).stat().st_mode) == 0o600
    assert [each.name for each in store.home.glob(".*")] == []


def test_a_home_of_a_secret_alone_is_empty_to_a_restore(store: Store, tmp_path: Path) -> None:
    from store.backup import backup

    backup(store, tmp_path / "store.tar")
    (tmp_path / "second").mkdir()
    kept = secret_of(tmp_path / "second")
    restore(tmp_path / "store.tar", tmp_path / "second")
    assert secret_of(tmp_path / "second") == kept
