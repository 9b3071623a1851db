"""Strangers who call themselves somebody else: by name, by id, in the field, the header or the query, with a key or
without. Each attack is refused or meets an empty room; the honest use beside it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from chat.people import COOKIE, HEADER, of_cookie
from chat.person_cookie import PersonCookie
from chat.settings import ChatSettings
from lm.loading import Base
from store.conversations import person
from store.imports import import_file
from store.keys import add_key, revoke_key
from store.people import erase
from store.ratings import present
from store.schema import Generation, Person, Rating

from .conftest import Running, running_chat

Headers = dict[str, str]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base) -> Iterator[Running]:
    """A served chat for callers with a key and without."""
    settings = ChatSettings(pair_share=0.0, ratings_per_minute=0)
    with running_chat(tmp_path_factory.mktemp("names"), tiny_base, settings) as it:
        yield it


def key(chat: Running, *scopes: str, whose: str | None = None) -> tuple[Headers, str]:
    """The header of a new key, and its id; `whose`: the name of the person that it speaks for."""
    with chat.store.session() as session:
        whom = None if whose is None else person(session, None, whose).id
        made, secret = add_key(session, "a program", scopes or ("chat", "rate"), whom)
        return {"Authorization": f"Bearer {secret}"}, made.id


def id_of(chat: Running, name: str) -> str:
    with chat.store.session(reading=True) as session:
        return session.scalars(select(Person.id).where(Person.name == name)).one()


def cookie(chat: Running) -> str:
    """A cookie that this server gives to a browser."""
    return PersonCookie(FastAPI(), chat.store).new()


class Caller:
    """Somebody who calls, with these headers and under this name."""

    def __init__(self, chat: Running, headers: Headers | None = None, user: str | None = None) -> None:
        self.chat, self.headers, self.user = chat, headers or {}, user

    def ask(self, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "Where?"}], "max_tokens": 2} | fields
        named = {} if self.user is None else {"user": self.user}
        return self.chat.client.post("/v1/chat/completions", json=body | named, headers=self.headers)

    def rate(self, generation: str, kind: str, value: Any) -> httpx.Response:
        body = {"id": generation, "kind": kind, "value": value, "user": self.user}
        return self.chat.client.post("/v1/feedback", json=body, headers=self.headers)

    def _params(self, **fields: str) -> dict[str, str]:
        return fields if self.user is None else fields | {"user": self.user}

    def read(self, generation: str) -> httpx.Response:
        return self.chat.client.get("/v1/feedback", params=self._params(id=generation), headers=self.headers)

    def delete(self, generation: str, kind: str) -> httpx.Response:
        params = self._params(id=generation, kind=kind)
        return self.chat.client.delete("/v1/feedback", params=params, headers=self.headers)


def commented(chat: Running, who: Caller) -> tuple[str, str]:
    """A generation that somebody rated and commented on, and its conversation."""
    answer = who.ask()
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert who.rate(told["id"], "thumb", 1).status_code == 200
    assert who.rate(told["id"], "comment", "my secret").status_code == 200
    return told["id"], told["conversation"]


def assert_out_of_reach(attacker: Caller, generation: str, conversation: str) -> None:
    """The attacker reads nothing of it, goes on with nothing, deletes and rewrites nothing of somebody else's."""
    chat = attacker.chat
    with chat.store.session(reading=True) as session:
        owner = session.get_one(Generation, generation).person_id
    read = attacker.read(generation)
    assert read.status_code in (400, 403) or read.json()["data"] == []
    assert "my secret" not in read.text
    assert attacker.ask(metadata={"conversation": conversation}).status_code in (400, 403)
    assert attacker.delete(generation, "thumb").status_code in (400, 403)
    attacker.rate(generation, "thumb", -1)
    with chat.store.session(reading=True) as session:
        own = {each.kind: each.value for each in present(session, generation, owner)}
        said = session.scalars(select(Rating.value).where(Rating.person_id == owner, Rating.kind == "thumb"))
        assert set(said) == {1}
    assert own == {"thumb": 1, "comment": "my secret"}


def assert_served(caller: Caller, generation: str, conversation: str) -> None:
    """The honest use beside it."""
    assert {each["kind"] for each in caller.read(generation).json()["data"]} == {"thumb", "comment"}
    assert caller.ask(metadata={"conversation": conversation}).status_code == 200


def test_a_key_without_a_person_is_not_ann_who_has_a_key(chat: Running) -> None:
    headers = key(chat, whose="ann")[0]
    ann = Caller(chat, headers)
    found = commented(chat, ann)
    for name in ("ann", id_of(chat, "ann")):
        assert_out_of_reach(Caller(chat, key(chat)[0], name), *found)
        assert_out_of_reach(Caller(chat, key(chat)[0] | {HEADER: name}), *found)
    assert_served(ann, *found)
    assert_served(Caller(chat, headers, "ann"), *found)


def test_what_two_keys_call_ann_are_two_people(chat: Running) -> None:
    one, two = key(chat)[0], key(chat)[0]
    for name in ("mary", None):  # whoever is not named is the key's own holder
        found = commented(chat, Caller(chat, one, name))
        for other in (two, {}):
            assert_out_of_reach(Caller(chat, other, name), *found)
        assert_served(Caller(chat, one, name), *found)


def test_a_name_with_a_space_written_before_it_leads_nowhere(chat: Running) -> None:
    headers, number = key(chat)
    found = commented(chat, Caller(chat, headers, "zoe"))
    for name in (f"key:{number}/zoe", f" KEY:{number}/zoe", f"\N{FULLWIDTH LATIN SMALL LETTER K}ey:{number}/zoe"):
        for other in ({}, key(chat)[0]):
            assert Caller(chat, other, name).ask().status_code == 400
            assert_out_of_reach(Caller(chat, other, name), *found)
    assert_served(Caller(chat, headers, "zoe"), *found)


def test_without_a_key_nobody_is_somebody_who_has_one_revoked_or_not(chat: Running) -> None:
    before = commented(chat, Caller(chat, user="bea"))  # when bea had none
    headers, number = key(chat, whose="bea")
    found = commented(chat, Caller(chat, headers))
    for attacker in (Caller(chat, user="bea"), Caller(chat, {HEADER: "bea"}), Caller(chat, user=id_of(chat, "bea"))):
        assert_out_of_reach(attacker, *found)
        assert_out_of_reach(attacker, *before)
    assert_served(Caller(chat, headers), *before)
    refused = Caller(chat, user="bea").ask()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "other_person")
    with chat.store.session() as session:
        revoke_key(session, number)
    assert_out_of_reach(Caller(chat, user="bea"), *found)


def test_people_made_by_name_are_reached_as_before_without_a_key_and_by_who_operates(chat: Running) -> None:
    caller = Caller(chat, user="carl")
    found = commented(chat, caller)
    assert_served(caller, *found)
    assert_served(Caller(chat, {HEADER: "carl"}), *found)
    operator = key(chat, "operate")[0]
    assert_served(Caller(chat, operator, "carl"), *found)
    assert_served(Caller(chat, operator, id_of(chat, "carl")), *found)
    assert_out_of_reach(Caller(chat, key(chat)[0], "carl"), *found)
    headers, number = key(chat)
    spaced = commented(chat, Caller(chat, headers, "dan"))
    assert_served(Caller(chat, operator, f"key:{number}/dan"), *spaced)


def test_the_id_of_a_browser_s_person_is_no_way_to_them(chat: Running) -> None:
    mine = cookie(chat)
    browser = Caller(chat, {"Cookie": f"{COOKIE}={mine}"})
    found = commented(chat, browser)
    known = of_cookie(mine)
    for headers in ({}, key(chat)[0], {"Cookie": f"{COOKIE}={cookie(chat)}"}):
        assert_out_of_reach(Caller(chat, headers, known), *found)
        assert_out_of_reach(Caller(chat, headers | {HEADER: known.upper()}), *found)
    assert_out_of_reach(Caller(chat, {"Cookie": f"{COOKIE}={known}"}), *found)
    assert_served(browser, *found)


def test_whoever_comes_back_after_an_erasure_is_not_reached_by_the_old_id(chat: Running) -> None:
    mine = cookie(chat)
    browser = Caller(chat, {"Cookie": f"{COOKIE}={mine}"})
    commented(chat, browser)
    erase(chat.store, of_cookie(mine))
    found = commented(chat, browser)
    assert_out_of_reach(Caller(chat, {"Cookie": f"{COOKIE}={of_cookie(mine)}"}), *found)
    assert_served(browser, *found)


RESERVED = ["import", "Import ", "ｉmport", "import:0123", "api", "API", "key:1/ann", "0" * 16, "f" * 24, "F" * 24]


@pytest.mark.parametrize("name", RESERVED)
def test_what_the_house_gives_out_itself_is_no_name(chat: Running, name: str) -> None:
    told = chat.ask(max_tokens=2).json()["id"]
    for headers in ({}, key(chat)[0]):
        caller = Caller(chat, headers, name)
        for response in (caller.ask(), caller.rate(told, "thumb", 1), caller.read(told), caller.delete(told, "thumb")):
            assert response.status_code == 400
            assert "not give themselves" in response.json()["error"]["message"]
    with chat.store.session(reading=True) as session:
        assert session.scalars(select(Person).where(Person.name.like(f"%{name}"), Person.name != "api")).all() == []


@pytest.mark.parametrize("name", ["importer", "my import", "apiary", "key", "0" * 15, "0" * 32, "user-" + "f" * 24])
def test_names_that_only_look_like_them_are_taken(chat: Running, name: str) -> None:
    assert Caller(chat, {}, name).ask().status_code == 200
    assert Caller(chat, key(chat)[0], name).ask().status_code == 200


def test_imported_ratings_are_rewritten_by_nobody_who_calls(chat: Running, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "Imported?", "completion": "Yes.", "label": True}) + "\n")
    import_file(chat.store, file)
    with chat.store.session(reading=True) as session:
        rated = session.scalars(select(Rating.generation_id).where(Rating.surface == "import")).one()
    for headers in ({}, key(chat)[0], key(chat, "operate")[0]):
        caller = Caller(chat, headers, "import")
        assert caller.rate(rated, "thumb", -1).status_code == 400
        assert caller.delete(rated, "thumb").status_code == 400
    with chat.store.session(reading=True) as session:
        assert [each.value for each in present(session, rated, "import")] == [1]
    assert Caller(chat, user="eva").rate(rated, "thumb", -1).status_code == 200  # as herself
    assert import_file(chat.store, file).duplicates == 1
