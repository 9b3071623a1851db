from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from store.ratings import present

from .conftest import Running


@pytest.fixture
def answered(running: Running) -> str:
    """A generation's id."""
    return str(running.ask(max_tokens=4).json()["id"])


def rate(running: Running, **body: Any) -> Any:
    return running.client.post("/v1/feedback", json=body)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumb", 1),
        ("thumb", -1),
        ("score", 7),
        ("tags", ["Too long", "太长"]),
        ("comment", "Why so curt?"),
        ("correction", "It arrives on Thursday."),
    ],
)
def test_each_kind_is_kept_and_listed(running: Running, answered: str, kind: str, value: Any) -> None:
    response = rate(running, id=answered, kind=kind, value=value, user="Ann")
    assert response.status_code == 200
    assert response.json() | {"created": 0} == {
        "id": response.json()["id"],
        "generation": answered,
        "kind": kind,
        "value": value,
        "other": None,
        "created": 0,
    }
    listed = running.client.get("/v1/feedback", params={"id": answered, "user": "Ann"}).json()["data"]
    assert listed == [response.json()]
    assert running.client.get("/v1/feedback", params={"id": answered, "user": "Bo"}).json()["data"] == []


def test_null_is_as_absent(running: Running, answered: str) -> None:
    response = rate(running, id=answered, kind="thumb", value=1, other=None, user=None)
    assert response.status_code == 200
    assert running.client.get("/v1/feedback", params={"id": answered}).json()["data"] == [response.json()]


@pytest.mark.parametrize("field", ["id", "kind", "value"])
def test_what_must_be_said_may_not_be_null(running: Running, answered: str, field: str) -> None:
    response = rate(running, **({"id": answered, "kind": "thumb", "value": 1} | {field: None}))
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("how", ["turned", "withdrawn"])
def test_a_change_of_mind_takes_back_what_hung_on_the_thumb(running: Running, answered: str, how: str) -> None:
    for kind, value in (
        ("thumb", 1),
        ("tags", ["Clear"]),
        ("comment", "So kind."),
        ("correction", "Blue."),
        ("score", 9),
    ):
        assert rate(running, id=answered, kind=kind, value=value, user="Ann").status_code == 200
    if how == "turned":
        assert rate(running, id=answered, kind="thumb", value=-1, user="Ann").status_code == 200
    else:
        which = {"id": answered, "kind": "thumb", "user": "Ann"}
        assert running.client.delete("/v1/feedback", params=which).status_code == 200
    listed = running.client.get("/v1/feedback", params={"id": answered, "user": "Ann"}).json()["data"]
    assert [(each["kind"], each["value"]) for each in listed] == [("score", 9)] + [("thumb", -1)] * (how == "turned")


def test_rating_again_replaces_and_withdrawing_hides(running: Running, answered: str) -> None:
    for value in (1, -1, -1):
        assert rate(running, id=answered, kind="thumb", value=value).status_code == 200
    with running.store.session() as session:
        assert [each.value for each in present(session, answered)] == [-1]
    gone = running.client.delete("/v1/feedback", params={"id": answered, "kind": "thumb"})
    assert gone.json() == {"generation": answered, "kind": "thumb", "other": None, "withdrawn": True}
    assert running.client.get("/v1/feedback", params={"id": answered}).json()["data"] == []
    assert running.client.delete("/v1/feedback", params={"id": answered, "kind": "thumb"}).status_code == 400


def test_a_pair_of_choices_is_judged(running: Running) -> None:
    left, right = (choice["generation"] for choice in running.ask(n=2, max_tokens=4).json()["choices"])
    assert rate(running, id=left, kind="pair", value="right", other=right).status_code == 200
    [kept] = running.client.get("/v1/feedback", params={"id": left}).json()["data"]
    assert (kept["value"], kept["other"]) == ("right", right)
    assert rate(running, id=left, kind="pair", value="right").status_code == 400
    taken = {"id": left, "kind": "pair", "other": right}
    assert running.client.delete("/v1/feedback", params=taken).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "gen-0", "kind": "thumb", "value": 1}, 404),
        ({"kind": "thumb", "value": 0}, 400),
        ({"kind": "thumb", "value": True}, 400),
        ({"kind": "score", "value": 11}, 400),
        ({"kind": "stars", "value": 5}, 400),
        ({"kind": "comment", "value": " "}, 400),
        ({"kind": "comment", "value": "a\0b"}, 400),
        ({"kind": "thumb", "value": 1, "user": "a\0b"}, 400),
        ({"id": "gen-\0", "kind": "thumb", "value": 1}, 404),
        ({"kind": "thumb"}, 400),
        ({"kind": "thumb", "value": 1, "extra": 1}, 400),
        ({"kind": "pair", "value": "left", "other": "gen-0"}, 404),
    ],
)
def test_what_is_no_opinion_is_refused(running: Running, answered: str, body: dict[str, Any], status: int) -> None:
    response = rate(running, **({"id": answered} | body))
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_a_crowd_rates_at_once_and_a_bad_one_fails_alone(running: Running, answered: str) -> None:
    def give(turn: int) -> int:
        value = 11 if turn % 4 == 0 else 1 + turn % 10
        return int(rate(running, id=answered, kind="score", value=value, user=f"rater {turn}").status_code)

    with ThreadPoolExecutor(12) as crowd:
        statuses = list(crowd.map(give, range(48)))
    assert statuses == [400 if turn % 4 == 0 else 200 for turn in range(48)]
    with running.store.session(reading=True) as session:
        assert sorted(each.value for each in present(session, answered)) == sorted(
            1 + turn % 10 for turn in range(48) if turn % 4
        )
