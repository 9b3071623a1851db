from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import Depends, FastAPI

from chat import errors
from chat.access import Access, scope
from chat.app import build_app
from chat.keyring import REMEMBERED, Keyring
from chat.people import COOKIE as PERSON_COOKIE
from chat.people import HEADER, of_cookie
from chat.person_cookie import PersonCookie
from chat.personas import PERSONAS
from chat.raters import simulate
from chat.settings import ChatSettings
from lm.loading import Base
from problems import Problem
from store.conversations import person
from store.database import Store, open_store
from store.group import Group
from store.keys import add_key, revoke_key
from store.people import erase
from store.schema import Person
from store.versions import list_versions

from .conftest import SAMPLING, Running, add_adapter, own_engine, running_chat, until

ASK: Any = [{"role": "user", "content": "Where is my parcel?"}]
BODY = {"messages": ASK, "max_tokens": 2}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base) -> Iterator[Running]:
    """A served chat for holders of a key alone."""
    settings = ChatSettings(pair_share=0.0, require_key=True)
    with running_chat(tmp_path_factory.mktemp("locked"), tiny_base, settings) as it:
        yield it


def key(store: Store, *scopes: str, name: str | None = None) -> tuple[dict[str, str], str]:
    """The header of a new key, for the person of this name where one is given; and its id."""
    with store.session() as session:
        whom = None if name is None else person(session, None, name).id
        made, secret = add_key(session, "a program", scopes or ("chat", "rate"), whom)
        return {"Authorization": f"Bearer {secret}"}, made.id


def person_of(running: Running, response: httpx.Response) -> str:
    """The name, else the id, of whom an answer was given to."""
    assert response.status_code == 200, response.text
    with running.store.session(reading=True) as session:
        found = session.get_one(Person, running.generation(response.json()["id"]).person_id)
        return found.name or found.id


def asked(running: Running, headers: dict[str, str], **fields: str) -> httpx.Response:
    return running.client.post("/v1/chat/completions", json=BODY | fields, headers=headers)


def refused(response: httpx.Response) -> str:
    """The message of a 401 in OpenAI's shape."""
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    return str(error["message"])


def test_every_route_needs_a_key_but_those_that_say_nothing(locked: Running) -> None:
    described = locked.client.get("/openapi.json").json()["paths"]
    routes = [(method, path) for path, methods in described.items() for method in methods]
    assert ("post", "/v1/chat/completions") in routes
    for method, path in routes:
        response = locked.client.request(method, path, json={} if method == "post" else None)
        if path in ("/healthz", "/readyz"):
            assert response.status_code == 200
        else:
            refused(response)
    assert locked.client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("HEAD", "/v1/models"),
        ("OPTIONS", "/v1/models"),
        ("GET", "/v1/../gradio_api/info"),
        ("GET", "/metrics"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/queue/data"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/predict"),
        ("PUT", "/enter"),
        ("HEAD", "/"),
        ("POST", "/"),
        ("GET", "//"),
        ("GET", "/healthz/"),
        ("POST", "/healthz"),
        ("GET", "/HEALTHZ"),
        ("GET", "/enter/../config"),
    ],
)
def test_nothing_lies_beside_the_door(locked: Running, method: str, path: str) -> None:
    response = locked.client.request(method, httpx.URL(locked.url, raw_path=path.encode()))
    assert response.status_code == 401
    assert method == "HEAD" or "needs a key" in response.text or "a key is needed" in response.text


def test_a_key_is_for_what_its_scopes_name(locked: Running) -> None:
    chat, rate, all_of_it = (key(locked.store, each)[0] for each in ("chat", "rate", "operate"))
    generation = asked(locked, chat).json()["id"]
    thumb = {"id": generation, "kind": "thumb", "value": 1}
    for headers, statuses in ((chat, (200, 200, 403)), (rate, (403, 403, 200)), (all_of_it, (200, 200, 200))):
        responses = (
            asked(locked, headers),
            locked.client.get("/v1/models", headers=headers),
            locked.client.post("/v1/feedback", json=thumb, headers=headers),
        )
        assert tuple(each.status_code for each in responses) == statuses
        for each in responses:
            if each.status_code == 403:
                assert each.json()["error"]["code"] == "missing_scope"
                assert f"lacks the scope {'rate' if headers is chat else 'chat'}" in each.json()["error"]["message"]
    for method in ("GET", "DELETE"):
        taken = {"id": generation, "kind": "thumb"}
        assert locked.client.request(method, "/v1/feedback", params=taken, headers=chat).status_code == 403
    assert locked.client.get("/v1/nothing", headers=chat).status_code == 404


@pytest.mark.parametrize(
    "header", ["Bearer sk-anything", "Bearer rk-", "Bearer rk-" + "x" * 43, "Bearer", "Basic cms6cms=", "rk-x"]
)
def test_what_is_no_key_is_refused_without_being_repeated(locked: Running, header: str) -> None:
    message = refused(locked.client.get("/v1/models", headers={"Authorization": header}))
    assert "xxx" not in message
    assert "sk-" not in message


def test_without_the_need_only_what_looks_like_a_key_is_checked(running: Running) -> None:
    for header in ("Bearer sk-anything", "Bearer none", "Basic cms6cms=", "Bearer RK-x", "nonsense"):
        assert running.client.get("/v1/models", headers={"Authorization": header}).status_code == 200
    for header in ("Bearer rk-", "bearer  rk-" + "x" * 43):
        refused(running.client.get("/v1/models", headers={"Authorization": header}))
    chat, key_id = key(running.store, "chat", name="Key's Ann")
    assert person_of(running, asked(running, chat)) == "Key's Ann"
    assert running.client.post("/v1/feedback", json={}, headers=chat).status_code == 403
    with running.store.session() as session:
        revoke_key(session, key_id)
    until(lambda: asked(running, chat).status_code == 401)  # and never somebody else


def test_a_key_that_another_process_revokes_ends_within_a_second(locked: Running) -> None:
    headers, key_id = key(locked.store, "chat")
    assert locked.client.get("/v1/models", headers=headers).status_code == 200
    other = open_store(locked.store.home)
    with other.session() as session:
        revoke_key(session, key_id)
    other.close()
    revoked = asked_at = time.monotonic()
    while locked.client.get("/v1/models", headers=headers).status_code == 200:
        assert asked_at - revoked <= REMEMBERED  # when it was asked, however long a busy machine took to answer
        asked_at = time.monotonic()
    refused(locked.client.get("/v1/models", headers=headers))


def test_a_key_speaks_for_its_person_alone(locked: Running) -> None:
    headers, _ = key(locked.store, name="Ann")
    person_of(locked, asked(locked, key(locked.store)[0], user="Bo"))
    with locked.store.session(reading=True) as session:
        ann = person(session, None, "Ann").id
    for naming in ({}, {"user": "Ann"}, {"user": ann}):
        assert person_of(locked, asked(locked, headers, **naming)) == "Ann"
    assert person_of(locked, asked(locked, headers | {"Cookie": f"{PERSON_COOKIE}=abc"})) == "Ann"
    generation = asked(locked, headers).json()["id"]
    opinion = {"id": generation, "kind": "thumb", "value": 1}
    for response in (
        asked(locked, headers, user="Bo"),
        asked(locked, headers, user="somebody new"),
        asked(locked, headers | {HEADER: "Bo"}),
        locked.client.post("/v1/feedback", json=opinion | {"user": "Bo"}, headers=headers),
        locked.client.get("/v1/feedback", params={"id": generation, "user": "Bo"}, headers=headers),
        locked.client.delete("/v1/feedback", params={"id": generation, "kind": "thumb", "user": "Bo"}, headers=headers),
    ):
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "other_person"
    with locked.store.session(reading=True) as session:
        assert session.query(Person).where(Person.name == "somebody new").count() == 0
    assert locked.client.post("/v1/feedback", json=opinion, headers=headers).status_code == 200
    listed = locked.client.get("/v1/feedback", params={"id": generation}, headers=headers).json()["data"]
    assert [each["value"] for each in listed] == [1]


def test_who_operates_may_name_anybody(locked: Running) -> None:
    headers, _ = key(locked.store, "operate", name="Olga")
    assert person_of(locked, asked(locked, headers)) == "Olga"
    assert person_of(locked, asked(locked, headers, user="Bo")) == "Bo"


def test_a_key_of_nobody_speaks_for_whom_it_names_in_a_space_of_its_own(locked: Running) -> None:
    headers, number = key(locked.store)
    assert person_of(locked, asked(locked, headers, user="Bo")) == f"key:{number}/Bo"
    assert person_of(locked, asked(locked, headers)) == f"key:{number}"
    given = PersonCookie(FastAPI(), locked.store).new()
    assert person_of(locked, asked(locked, headers | {"Cookie": f"{PERSON_COOKIE}={given}"})) == of_cookie(given)


def test_the_key_of_somebody_erased_opens_nothing(locked: Running) -> None:
    headers, _ = key(locked.store, name="Eve")
    assert person_of(locked, asked(locked, headers)) == "Eve"
    with locked.store.session(reading=True) as session:
        eve = person(session, None, "Eve").id
    erase(locked.store, eve)
    refused(asked(locked, headers))  # at once: a remembered key is held against the person's row


def test_ratings_are_counted_by_the_person_of_the_key(tiny_base: Base, tmp_path: Any) -> None:
    settings = ChatSettings(require_key=True, ratings_per_minute=2)
    with running_chat(tmp_path, tiny_base, settings) as few:
        ann, bo = key(few.store, name="Ann")[0], key(few.store, name="Bo")[0]
        opinion = {"id": asked(few, ann).json()["id"], "kind": "thumb", "value": 1}

        def rate(headers: dict[str, str], **more: str) -> int:
            return few.client.post("/v1/feedback", json=opinion | more, headers=headers).status_code

        with few.store.session(reading=True) as session:
            ann_id = person(session, None, "Ann").id
        assert [rate(ann), rate(ann, user="Ann"), rate(ann, user=ann_id), rate(bo)] == [200, 200, 429, 200]


def test_simulated_people_bring_a_key(locked: Running) -> None:
    secret = key(locked.store)[0]["Authorization"].split()[1]
    assert simulate(locked.url, PERSONAS["terse"], 3, people=2, key=secret).ratings == 3
    with pytest.raises(Problem, match="a key is needed here"):
        simulate(locked.url, PERSONAS["terse"], 1)


def test_the_stock_client_raises_what_it_should(locked: Running) -> None:
    def client(secret: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{locked.url}/v1", api_key=secret, max_retries=0)

    good, narrow = (key(locked.store, each)[0]["Authorization"].split()[1] for each in ("chat", "rate"))
    with client("sk-wrong") as wrong, pytest.raises(openai.AuthenticationError, match="unknown or revoked") as caught:
        wrong.models.list()
    assert caught.value.code == "invalid_api_key"
    with client(narrow) as lacking, pytest.raises(openai.PermissionDeniedError, match="lacks the scope chat"):
        lacking.chat.completions.create(model="ratchet", messages=ASK)
    with client(good) as right:
        assert right.chat.completions.create(model="ratchet", messages=ASK, max_tokens=2).choices[0].finish_reason
        pieces = list(right.chat.completions.create(model="ratchet", messages=ASK, max_tokens=2, stream=True))
        assert pieces[-1].choices[0].finish_reason


def test_a_foreign_page_is_refused_before_its_key_is_looked_at(locked: Running) -> None:
    headers = {"Origin": "https://evil.example"}
    for sent in (headers, headers | key(locked.store)[0]):
        response = locked.client.post("/v1/chat/completions", json=BODY, headers=sent)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign_origin")
    assert "content-security-policy" in locked.client.get("/v1/models").headers


async def test_a_friendly_site_is_told_what_is_missing(store: Store, tiny_base: Base) -> None:
    settings = ChatSettings(allowed_origins=("https://friend.example",), require_key=True)
    app = build_app(store, own_engine(tiny_base), settings, SAMPLING)
    friend = {"Origin": "https://friend.example"}
    asking = friend | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:7860") as client:
        assert (await client.options("/v1/chat/completions", headers=asking)).status_code == 200
        response = await client.post("/v1/chat/completions", json=BODY, headers=friend)
    refused(response)
    assert response.headers["access-control-allow-origin"] == "https://friend.example"


async def test_the_dependency_guards_any_route(store: Store) -> None:
    app, group = FastAPI(), Group(store)
    errors.install(app)
    app.add_middleware(Access, keyring=Keyring(store, group), settings=ChatSettings(require_key=True))

    @app.get("/metrics", dependencies=[Depends(scope("operate"))])
    async def metrics() -> str:
        return "figures"

    chat, operate = key(store, "chat")[0], key(store, "operate")[0]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        refused(await client.get("/metrics"))
        lacking = await client.get("/metrics", headers=chat)
        assert (lacking.status_code, lacking.json()["error"]["code"]) == (403, "missing_scope")
        assert (await client.get("/metrics", headers=operate)).json() == "figures"
    group.close()


def test_the_openapi_document_names_the_scheme(running: Running) -> None:
    document = running.client.get("/openapi.json").json()
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in document["paths"].items():
        for route in methods.values():
            keyed = path.startswith("/v1/") or path == "/metrics"
            assert route.get("security") == ([{name: []}] if keyed else None), path


@pytest.fixture
def statuses(locked: Running) -> dict[str, str]:
    """A version of each status by the name that asks for it."""
    found = {"ratchet": "serves", "ratchet@0": "base"}
    with locked.store.session() as session:
        made = {f"ratchet@{row.id}": row.status for row in list_versions(session) if row.id}
    for seed, status in enumerate(("candidate", "rejected", "canary", "promoted", "retired"), 40):
        if status not in made.values():
            made[f"ratchet@{add_adapter(locked.store, locked.base, seed, status=status)}"] = status
    return found | made


def test_unproven_versions_answer_for_operators_alone(locked: Running, statuses: dict[str, str]) -> None:
    chats, operates = key(locked.store, "chat", "rate")[0], key(locked.store, "operate")[0]
    for name, status in statuses.items():
        hidden = status in ("candidate", "rejected")
        for headers, allowed in ((chats, not hidden), (operates, True)):
            said = locked.client.post("/v1/chat/completions", headers=headers, json=BODY | {"model": name})
            assert said.status_code == (200 if allowed else 403), (status, said.text)
            shown = locked.client.get(f"/v1/models/{name}", headers=headers)
            assert shown.status_code == (200 if allowed else 403)
            if not allowed:
                assert said.json()["error"]["code"] == shown.json()["error"]["code"] == "missing_scope"
                assert "operate" in said.json()["error"]["message"]
            listed = locked.client.get("/v1/models", headers=headers).json()["data"]
            assert (name in [model["id"] for model in listed]) == allowed
    for headers in (chats, operates):
        absent = locked.client.post("/v1/chat/completions", headers=headers, json=BODY | {"model": "ratchet@999"})
        assert absent.status_code == 404


def test_without_required_keys_unproven_versions_answer_all_but_lesser_keys(tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, ChatSettings(pair_share=0.0)) as chat:
        name = f"ratchet@{add_adapter(chat.store, tiny_base, 1, status='rejected')}"
        lesser, operates = key(chat.store, "chat", "rate")[0], key(chat.store, "operate")[0]
        for headers, status in (({}, 200), (operates, 200), (lesser, 403)):
            said = chat.client.post("/v1/chat/completions", headers=headers, json=BODY | {"model": name})
            assert said.status_code == status
            listed = chat.client.get("/v1/models", headers=headers).json()["data"]
            assert (name in [model["id"] for model in listed]) == (status == 200)
