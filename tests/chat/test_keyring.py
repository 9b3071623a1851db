from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.keyring import REMEMBERED, Grant, Keyring, bearer
from problems import Problem
from store.database import Store
from store.group import Group
from store.keys import add_key, list_keys, page_token, revoke_key
from store.schema import Key

from .conftest import until

spaces = st.text(" ", min_size=1, max_size=3)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
schemes = st.sampled_from(["Bearer", "bearer", "BEARER", "bEaReR"])


@given(scheme=schemes, gap=spaces, token=tokens, edges=st.tuples(st.text(" ", max_size=2), st.text(" ", max_size=2)))
def test_a_token_is_read_whatever_the_case_and_the_spaces(
    scheme: str, gap: str, token: str, edges: tuple[str, str]
) -> None:
    assert bearer(f"{edges[0]}{scheme}{gap}{token}{edges[1]}") == token


@given(st.text(st.characters(max_codepoint=0xFF), max_size=80))  # what a header can hold
def test_any_header_is_a_token_or_none(header: str) -> None:
    read = bearer(header)
    if read is not None:
        assert read == read.strip() != ""
        assert header.strip().lower().startswith("bearer ")
        assert header.strip().endswith(read)


@given(scheme=tokens.filter(lambda text: text.lower() != "bearer"), token=tokens)
def test_another_scheme_is_no_bearer(scheme: str, token: str) -> None:
    assert bearer(f"{scheme} {token}") is None


@pytest.mark.parametrize(
    "header", [None, "", " ", "Bearer", "Bearer ", "Bearer\trk-x", "Bearerrk-x", "rk-x", "Basic rk-x"]
)
def test_what_holds_no_token(header: str | None) -> None:
    assert bearer(header) is None


def test_operate_is_everything() -> None:
    assert all(Grant("k", frozenset({"operate"}), None).allows(scope) for scope in ("chat", "rate", "operate"))
    chat = Grant("k", frozenset({"chat"}), None)
    assert [chat.allows(scope) for scope in ("chat", "rate", "operate")] == [True, False, False]


@pytest.fixture
def group(store: Store) -> Iterator[Group]:
    it = Group(store)
    yield it
    it.close()


def made(store: Store) -> tuple[str, str]:
    """A key's id and its secret."""
    with store.session() as session:
        key, secret = add_key(session, "a program", ["chat"])
        return key.id, secret


async def test_a_look_up_holds_for_a_second_and_no_longer(
    store: Store, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: at)
    keyring = Keyring(store, group)
    key_id, secret = made(store)
    expected = Grant(key_id, frozenset({"chat"}), None)
    assert await keyring.of_key(secret) == expected
    assert await keyring.of_page(page_token(secret)) == expected
    with store.session() as session:
        revoke_key(session, key_id)
    at += REMEMBERED - 0.01
    assert await keyring.of_key(secret) == expected
    at += 0.01
    assert await keyring.of_key(secret) is None
    assert await keyring.of_page(page_token(secret)) is None


async def test_what_is_unknown_is_asked_for_each_time(store: Store, group: Group) -> None:
    keyring = Keyring(store, group)
    _, secret = made(store)
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for _ in range(3):
        assert await keyring.of_key(wrong) is None
        assert await keyring.of_page(wrong) is None
    assert keyring._known == {}


async def test_a_use_is_written_down_by_the_group(store: Store, group: Group) -> None:
    keyring = Keyring(store, group)
    _, secret = made(store)
    assert await keyring.of_key(secret) is not None

    def used() -> Key | None:
        with store.session(reading=True) as session:
            return next((key for key in list_keys(session) if key.last_used), None)

    assert until(used).name == "a program"


async def test_a_use_that_cannot_be_written_is_told_and_lets_the_caller_in(
    store: Store, group: Group, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed: Future[None] = Future()
    failed.set_exception(Problem("the disk is full"))
    monkeypatch.setattr(group, "submit", lambda work: failed)
    _, secret = made(store)
    with caplog.at_level(logging.WARNING):
        assert await Keyring(store, group).of_key(secret) is not None
    assert "the disk is full" in caplog.text
    assert secret not in caplog.text
