"""Requests that are meant to be too much: refused before anything is written, and nothing of them stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from chat.laid import Laid, take_back
from chat.reply import Turn
from chat.settings import ChatSettings
from lm.loading import Base
from lm.settings import EngineSettings
from store.conversations import add_message, new_conversation, person
from store.schema import Conversation, Generation, Message

from .conftest import Running, own_engine, running_chat, until


@pytest.fixture
def narrow(tmp_path: Path, tiny_base: Base) -> Iterator[Running]:
    """A chat whose engine has one slot and one place to wait."""
    engine = own_engine(tiny_base, 0.02, EngineSettings(slots=1, queue=1, context=512))
    with running_chat(tmp_path, tiny_base, ChatSettings(), backend=engine) as chat:
        yield chat


def rows(chat: Running) -> dict[str, int]:
    """How much the store holds."""
    with chat.store.session(reading=True) as session:
        return {
            table.__name__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Conversation, Message, Generation)
        }


def turns(count: int) -> list[dict[str, str]]:
    return [{"role": "assistant" if i % 2 else "user", "content": f"{i}"} for i in range(count - 1)] + [
        {"role": "user", "content": "Where is my parcel?"}
    ]


def test_thirty_thousand_messages_are_refused_unwritten_and_nobody_waits_for_them(running: Running) -> None:
    before = rows(running)
    body = {"messages": turns(30_000)}
    with ThreadPoolExecutor(2) as pool:
        attacks = [pool.submit(running.client.post, "/v1/chat/completions", json=body) for _ in range(2)]
        time.sleep(0.1)
        begun = time.monotonic()
        honest = running.ask(user="Honest", max_tokens=4)
        waited = time.monotonic() - begun
    assert honest.status_code == 200
    assert waited < 10, "it was 25 s"
    for each in attacks:
        assert each.result().status_code == 400
        assert "30000 of them" in each.result().json()["error"]["message"]
    after = rows(running)
    assert after["Message"] - before["Message"] == 2, "the honest question and its answer"
    assert after["Conversation"] - before["Conversation"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": turns(999)}, 400),  # more than the model reads
        ({"messages": turns(1001)}, 400),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, 400),
        ({"messages": turns(3), "model": "ratchet@77"}, 404),
        ({"messages": turns(3), "metadata": {"conversation": "somebody-elses"}}, 400),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, 400),
    ],
)
def test_what_is_refused_leaves_nothing_in_the_store(running: Running, body: dict[str, Any], status: int) -> None:
    before = rows(running)
    assert running.client.post("/v1/chat/completions", json=body).status_code == status
    assert rows(running) == before
    assert running.ask(user="Honest", max_tokens=2).status_code == 200


def test_what_a_full_queue_refuses_leaves_nothing_either(narrow: Running) -> None:
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(narrow.ask, f"Question {i}", user=f"u{i}", max_tokens=30) for i in range(6)]
        statuses = [each.result().status_code for each in asked]
    answered = statuses.count(200)
    assert set(statuses) == {200, 429}
    assert rows(narrow) == {"Conversation": answered, "Message": 2 * answered, "Generation": answered}


def test_of_several_choices_none_is_kept_where_one_is_refused(narrow: Running) -> None:
    response = narrow.ask(user="Many", n=4, max_tokens=30)
    assert response.status_code == 429
    assert rows(narrow) == dict.fromkeys(("Conversation", "Message", "Generation"), 0)
    # What was given up leaves its place with the engine's next step.
    until(lambda: narrow.ask(user="Honest", max_tokens=2).status_code == 200)


def test_a_refused_continuation_leaves_the_conversation_as_it_was(narrow: Running) -> None:
    first = narrow.ask("Begin", user="Ann", max_tokens=2).json()
    talk = narrow.generation(first["id"]).conversation_id
    said = [{"role": "user", "content": "Begin"}, {"role": "assistant", "content": "another answer"}, *turns(1)]
    before = rows(narrow)
    body = {"messages": said, "user": "Ann", "metadata": {"conversation": talk}, "model": "ratchet@9"}
    assert narrow.client.post("/v1/chat/completions", json=body).status_code == 404
    assert rows(narrow) == before
    again = narrow.client.post("/v1/chat/completions", json={**body, "model": "ratchet", "max_tokens": 2})
    assert again.status_code == 200
    assert rows(narrow) == {"Conversation": 1, "Message": before["Message"] + 3, "Generation": 2}


def test_what_somebody_went_on_from_is_not_taken_back(running: Running) -> None:
    with running.store.session() as session:
        ann = person(session, None, "Ann").id
        talk = new_conversation(session, ann, "api").id
        first = add_message(session, talk, None, "user", "A").id
        second = add_message(session, talk, first, "assistant", "B").id
        third = add_message(session, talk, second, "user", "C").id
        theirs = add_message(session, talk, second, "user", "D").id
    laid = Laid([Turn(ann, talk, third, [], "api")], [first, second, third], talk)
    take_back(running.service, laid)
    with running.store.session(reading=True) as session:
        left = set(session.scalars(select(Message.id).where(Message.conversation_id == talk)))
        assert left == {first, second, theirs}
        assert session.get(Conversation, talk) is not None
