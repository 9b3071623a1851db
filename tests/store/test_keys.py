from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from problems import Problem
from store.checks import UnknownId
from store.database import Store
from store.keys import (
    NOTED,
    add_key,
    find_key,
    find_page_key,
    list_keys,
    note_use,
    page_token,
    revoke_key,
    use_is_due,
)
from store.people import erase
from store.schema import Key, now

from .conftest import Scene
from .test_people import bytes_of


def made(store: Store, *scopes: str, person: str | None = None) -> tuple[str, str]:
    """A key's id and its secret."""
    with store.session() as session:
        key, secret = add_key(session, "a program", scopes or ("chat",), person)
        return key.id, secret


def found(store: Store, secret: str) -> Key | None:
    with store.session(reading=True) as session:
        return find_key(session, secret)


def test_a_key_is_found_by_its_secret_which_the_store_does_not_hold(scene: Scene) -> None:
    ann = scene.person("ann")
    key_id, secret = made(scene.store, "rate", "chat", "rate", person=ann)
    assert re.fullmatch(r"rk-[A-Za-z0-9_-]{43}", secret)
    key = found(scene.store, secret)
    assert key is not None
    assert (key.id, key.name, key.scopes, key.person_id) == (key_id, "a program", ["chat", "rate"], ann)
    assert secret.startswith(key.prefix)
    assert (key.revoked, key.last_used) == (None, None)
    kept = bytes_of(scene.store)
    assert key.digest.encode() in kept
    for hidden in (secret, secret[3:], page_token(secret)):
        assert hidden.encode() not in kept


def test_no_two_keys_are_alike(store: Store) -> None:
    secrets = {made(store)[1] for _ in range(20)}
    assert len(secrets) == 20
    with store.session(reading=True) as session:
        assert len(list_keys(session)) == 20


@pytest.mark.parametrize("change", [str.upper, str.strip, lambda secret: secret[:-1] + "~", lambda secret: secret[3:]])
def test_only_the_whole_secret_opens(store: Store, change: Callable[[str], str]) -> None:
    _, secret = made(store)
    changed = change(secret)
    assert (found(store, changed) is None) == (changed != secret)


@pytest.mark.parametrize("text", ["", "rk-", "rk-" + "x" * 43, "rk-" + "é" * 43, "rk-\ud800", "x" * 10_000])
def test_what_is_no_key_is_not_found(store: Store, text: str) -> None:
    made(store)
    assert found(store, text) is None
    with store.session(reading=True) as session:
        assert find_page_key(session, text) is None


def test_a_page_token_leads_to_its_key_and_does_nothing_else(store: Store) -> None:
    key_id, secret = made(store)
    made(store)
    token = page_token(secret)
    with store.session(reading=True) as session:
        by_token = find_page_key(session, token)
        assert by_token is not None
        assert by_token.id == key_id
        assert find_key(session, token) is None
        assert find_page_key(session, secret) is None
        assert find_page_key(session, by_token.digest) is None
        assert find_page_key(session, by_token.page_digest) is None


def test_a_revoked_key_opens_nothing_and_keeps_its_time(store: Store) -> None:
    key_id, secret = made(store)
    _, other = made(store)
    with store.session() as session:
        first = revoke_key(session, key_id).revoked
    with store.session() as session:
        assert revoke_key(session, key_id).revoked == first
        assert find_page_key(session, page_token(secret)) is None
    assert found(store, secret) is None
    assert found(store, other) is not None
    with store.session(reading=True) as session:
        assert [key.revoked for key in list_keys(session)] == [first, None]
    with store.session() as session, pytest.raises(UnknownId, match="no key nothing"):
        revoke_key(session, "nothing")


def test_a_use_is_written_down_once_an_hour(store: Store) -> None:
    key_id, secret = made(store)

    def use() -> Key:
        with store.session() as session:
            note_use(session, key_id)
        key = found(store, secret)
        assert key is not None
        return key

    first = use()
    assert first.last_used is not None
    assert not use_is_due(first)
    assert use().last_used == first.last_used
    with store.session() as session:
        session.execute(update(Key).values(last_used=now() - NOTED - timedelta(seconds=1)))
    old = found(store, secret)
    assert old is not None
    assert use_is_due(old)
    assert (use().last_used or first.last_used) > first.last_used


@pytest.mark.parametrize(
    ("name", "scopes", "person", "said"),
    [
        ("", ["chat"], None, "name"),
        ("a\0b", ["chat"], None, "NUL"),
        ("x" * 201, ["chat"], None, "name"),
        ("x", [], None, "without a scope"),
        ("x", ["chat", "admin"], None, "no scope"),
        ("x", ["chat"], "nobody", "no person"),
    ],
)
def test_what_is_no_key_is_not_made(store: Store, name: str, scopes: list[str], person: str | None, said: str) -> None:
    with pytest.raises(Problem, match=said), store.session() as session:
        add_key(session, name, scopes, person)
    with store.session(reading=True) as session:
        assert list_keys(session) == []


def test_nobody_speaks_for_somebody_who_was_erased(scene: Scene) -> None:
    ann = scene.person("ann")
    erase(scene.store, ann)
    with pytest.raises(Problem, match="was erased"):
        made(scene.store, person=ann)
