"""Invented people: how many one door brings in, and what a thousand versions of a question cost the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from chat.arrivals import Arrivals, TooManyPeople
from chat.settings import ChatSettings
from lm.loading import Base
from store.conversations import add_message, new_conversation, path_to, person
from store.database import Store
from store.keys import add_key
from store.schema import Person

from .conftest import Running, running_chat

SETTINGS = ChatSettings(trusted_proxies=("127.0.0.1",), new_people_per_hour=5)
HONEST, STRANGER = "203.0.113.5", "198.51.100.7"


@pytest.fixture
def behind(tmp_path: Path, tiny_base: Base) -> Iterator[Running]:
    """A chat that believes its proxy."""
    with running_chat(tmp_path / "chat", tiny_base, SETTINGS) as chat:
        yield chat


def ask(chat: Running, user: str, address: str, **headers: str) -> Any:
    body = {"messages": [{"role": "user", "content": "Where?"}], "max_tokens": 2, "user": user}
    return chat.client.post("/v1/chat/completions", json=body, headers={"X-Forwarded-For": address} | headers)


def test_an_address_brings_in_so_many_new_people_and_others_come_all_the_same(behind: Running) -> None:
    answer = ask(behind, "Honest", HONEST).json()["id"]
    body, headers = {"id": answer, "kind": "thumb", "value": -1}, {"X-Forwarded-For": STRANGER}
    told = [
        behind.client.post("/v1/feedback", json=body | {"user": f"name {number}"}, headers=headers)
        for number in range(20)
    ]
    assert [each.status_code for each in told] == [200] * 5 + [429] * 15
    assert told[-1].json()["error"]["code"] == "too_many_people"
    assert int(told[-1].headers["Retry-After"]) > 60
    again = behind.client.post("/v1/feedback", json=body | {"user": "name 0"}, headers=headers)
    assert again.status_code == 200  # known by now
    assert ask(behind, "Bob", HONEST).status_code == 200
    assert ask(behind, "name 30", STRANGER).status_code == 429
    with behind.store.session(reading=True) as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 7


def test_who_may_operate_brings_in_anybody_and_another_key_does_not(behind: Running) -> None:
    with behind.store.session() as session:
        boss, plain = add_key(session, "boss", ["operate"])[1], add_key(session, "plain", ["chat"])[1]
    for key, wanted in ((boss, [200] * 8), (plain, [200] * 5 + [429] * 3)):
        codes = [ask(behind, f"{key[3:9]} {n}", STRANGER, Authorization=f"Bearer {key}").status_code for n in range(8)]
        assert codes == wanted


def test_new_people_are_counted_by_the_hour(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    now = [0.0]
    monkeypatch.setattr("chat.arrivals.time.monotonic", lambda: now[0])
    limit = Arrivals(2)

    def comes(name: str, door: str = "here") -> None:
        with store.session() as session, limit.by(door, session):
            person(session, None, name)

    for name in ("ann", "bob", "ann"):
        comes(name)
        now[0] += 60
    with pytest.raises(TooManyPeople, match="More than 2 new people in an hour") as told:
        comes("cem")
    assert told.value.wait == 3600 - 180 + 1
    comes("cem", "there")
    now[0] = 3601
    comes("dan")


def test_of_a_question_answered_a_thousand_times_one_branch_is_read(store: Store) -> None:
    with store.session() as session:
        talk = new_conversation(session, person(session, "ann").id, "page").id
        first = add_message(session, talk, None, "user", "Hello")
        for number in range(1000):
            last = add_message(session, talk, first.id, "assistant", str(number))
    with store.session(reading=True) as session:
        path = path_to(session, last.id)
        assert [each.id for each in path] == [first.id, last.id]
        assert len(session.identity_map) == 2


def test_a_rating_of_no_worth_never_reaches_the_writing_of_others(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = running.ask(max_tokens=2).json()["id"]
    with monkeypatch.context() as patch:
        patch.setattr("store.group.Group.submit", lambda *told: pytest.fail("it was given to be written"))
        for kind, value in (("comment", "x" * 500_000), ("tags", ["t"] * 100_000), ("fame", 1)):
            refused = running.client.post("/v1/feedback", json={"id": answer, "kind": kind, "value": value})
            assert refused.status_code == 400
    good = {"id": answer, "kind": "comment", "value": "x" * 10_000}
    assert running.client.post("/v1/feedback", json=good).status_code == 200
