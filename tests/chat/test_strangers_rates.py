"""How much may come by one door, a key or an address, whatever names are invented behind it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.datastructures import Headers

from chat.doors import Doors
from chat.keyring import Grant
from chat.pace import TooFast
from chat.settings import ChatSettings
from lm.loading import Base
from lm.settings import EngineSettings
from problems import Problem
from store.schema import Rating

from .conftest import Running, own_engine, running_chat, until

# The tests' own client stands for a proxy, so that each request can come from an address of its own.
SETTINGS = ChatSettings(
    trusted_proxies=("127.0.0.1",), door_answers_per_minute=24, door_ratings_per_minute=10, ratings_per_minute=1
)
HONEST, STRANGER = "203.0.113.5", "198.51.100.7"


@pytest.fixture
def behind(tmp_path: Path, tiny_base: Base) -> Iterator[Running]:
    """A chat of eight slots that believes its proxy."""
    engine = own_engine(tiny_base, 0.01, EngineSettings(slots=8, queue=64, context=512))
    with running_chat(tmp_path, tiny_base, SETTINGS, backend=engine) as chat:
        yield chat


def ask(chat: Running, address: str, **fields: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Where is my parcel?"}], **fields}
    return chat.client.post("/v1/chat/completions", json=body, headers={"X-Forwarded-For": address})


def request(host: str | None, forwarded: str = "", grant: Grant | None = None) -> Any:
    headers = Headers(raw=[(b"x-forwarded-for", line.encode()) for line in forwarded.split("\n") if line])
    client = None if host is None else SimpleNamespace(host=host)
    return SimpleNamespace(client=client, headers=headers, state=SimpleNamespace(grant=grant))


@pytest.mark.parametrize(
    ("host", "forwarded", "trusted", "door"),
    [
        ("203.0.113.5", "", (), "203.0.113.5"),
        ("::ffff:203.0.113.5", "", (), "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "", (), "2001:db8:1:2::/64"),
        ("127.0.0.1", "", (), ""),
        ("::1", "", (), ""),
        (None, "", (), ""),
        ("203.0.113.5", "198.51.100.7", (), "203.0.113.5"),  # nobody's word is taken
        ("10.0.0.2", "198.51.100.7", ("10.0.0.0/8",), "198.51.100.7"),
        ("10.0.0.2", "1.2.3.4, 198.51.100.7", ("10.0.0.0/8",), "198.51.100.7"),  # what the client wrote itself is left
        ("10.0.0.2", "198.51.100.7, 10.0.0.3", ("10.0.0.0/8",), "198.51.100.7"),
        ("10.0.0.2", "1.2.3.4\n198.51.100.7", ("10.0.0.0/8",), "198.51.100.7"),  # the proxy added a line of its own
        ("10.0.0.2", "somebody", ("10.0.0.0/8",), "10.0.0.2"),
        ("10.0.0.2", "", ("10.0.0.0/8",), "10.0.0.2"),
    ],
)
def test_the_door_is_the_address_that_nobody_can_make_up(
    host: str | None, forwarded: str, trusted: tuple[str, ...], door: str
) -> None:
    assert Doors(ChatSettings(trusted_proxies=trusted)).of(request(host, forwarded)) == door


def test_a_key_is_a_door_wherever_it_comes_from() -> None:
    doors = Doors(ChatSettings(door_answers_per_minute=3))
    grant = Grant("k1", frozenset({"chat"}), None)
    for host in ("127.0.0.1", "203.0.113.5", "203.0.113.6"):
        assert doors.asks(request(host, grant=grant)) == "key k1"
    with pytest.raises(TooFast, match="3 requests in a minute from one key or address"):
        doors.asks(request("203.0.113.7", grant=grant))
    assert doors.asks(request("203.0.113.7")) == "203.0.113.7"


def test_a_key_that_may_operate_is_not_counted() -> None:
    doors = Doors(ChatSettings(door_answers_per_minute=1))
    grant = Grant("k1", frozenset({"operate"}), None)
    assert [doors.asks(request("203.0.113.5", grant=grant)) for _ in range(5)] == ["key k1"] * 5


def test_a_proxy_that_nobody_named_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    doors = Doors(ChatSettings())
    for _ in range(3):
        assert doors.of(request("127.0.0.1", "198.51.100.7")) == ""
    assert caplog.text.count("chat.trusted_proxies names none") == 1


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(Problem, match="trusted_proxies"):
        ChatSettings(trusted_proxies=("my-proxy",))


def test_twenty_names_that_ask_for_eight_answers_each_are_one_door(behind: Running) -> None:
    with ThreadPoolExecutor(20) as pool:
        attacks = [pool.submit(ask, behind, STRANGER, n=8, user=f"name {i}", max_tokens=100) for i in range(20)]
        honest = ask(behind, HONEST, user="Honest", max_tokens=4)
        statuses = [each.result().status_code for each in attacks]
    assert honest.status_code == 200
    assert statuses.count(200) == 3, "three times eight are the 24 of a minute"
    assert set(statuses) == {200, 429}
    refused = ask(behind, STRANGER, user="name 99")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
    assert 0 < int(refused.headers["retry-after"]) <= 61


def test_a_short_question_does_not_wait_for_all_that_another_door_asked(behind: Running) -> None:
    with ThreadPoolExecutor(3) as pool:
        long = {"n": 8, "max_tokens": 120, "ignore_eos": True}
        attack = [pool.submit(ask, behind, STRANGER, user=f"name {i}", **long) for i in range(3)]
        until(lambda: behind.service.under_way == 24)
        honest = ask(behind, HONEST, user="Honest", max_tokens=2)
        waiting = behind.service.under_way
        assert honest.status_code == 200
        assert waiting == 24, "none of the long ones had to end first"
        assert [each.result().status_code for each in attack] == [200, 200, 200]


def test_invented_names_do_not_rate_past_their_address(behind: Running) -> None:
    answer = ask(behind, HONEST, user="Honest", max_tokens=4).json()["id"]
    body = {"id": answer, "kind": "thumb", "value": -1}
    headers = {"X-Forwarded-For": STRANGER}
    statuses = [
        behind.client.post("/v1/feedback", json=body | {"user": f"name {i}"}, headers=headers).status_code
        for i in range(650)
    ]
    assert statuses.count(200) == 10
    assert set(statuses) == {200, 429}
    honest = behind.client.post(
        "/v1/feedback", json=body | {"user": "Honest", "value": 1}, headers={"X-Forwarded-For": HONEST}
    )
    assert honest.status_code == 200
    with behind.store.session(reading=True) as session:
        assert session.scalar(select(func.count()).select_from(Rating)) == 11
