from __future__ import annotations

import pytest

from chat import pace
from chat.pace import Pace, TooFast

from .conftest import Running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time: change its one entry."""
    now = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_a_person_may_give_so_many_in_any_minute_and_the_others_as_well(clock: list[float]) -> None:
    limit = Pace(3)
    for _ in range(3):
        limit.step("ann")
        clock[0] += 10
    with pytest.raises(TooFast, match="More than 3 ratings") as told:
        limit.step("ann")
    assert told.value.wait == 31
    limit.step("bob")
    clock[0] += 30
    limit.step("ann")
    with pytest.raises(TooFast):
        limit.step("ann")


def test_zero_is_no_limit() -> None:
    limit = Pace(0)
    for _ in range(1000):
        limit.step("ann")


def test_only_so_many_people_are_remembered(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "REMEMBERED", 2)
    limit = Pace(1)
    for name in ("ann", "bob", "cem"):
        limit.step(name)
    with pytest.raises(TooFast):
        limit.step("cem")
    limit.step("ann")


def test_the_api_says_how_long_to_wait_and_keeps_nothing(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = str(running.ask(max_tokens=2).json()["id"])
    body = {"id": answer, "kind": "thumb", "value": 1, "user": "hasty"}
    monkeypatch.setattr(running.service.pace, "per_minute", 2)
    assert [running.client.post("/v1/feedback", json=body).status_code for _ in range(3)] == [200, 200, 429]
    refused = running.client.post("/v1/feedback", json=body)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert running.client.post("/v1/feedback", json=body | {"user": "patient"}).status_code == 200
    listed = running.client.get("/v1/feedback", params={"id": answer, "user": "hasty"}).json()["data"]
    assert len(listed) == 1
