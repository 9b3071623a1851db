"""An empty store, and short words for putting people, answers and opinions into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from store.conversations import new_conversation, person, record_generation
from store.database import Store, open_store
from store.ratings import rate, withdraw
from store.schema import Rating
from store.versions import ensure_base


class Scene:
    """Short words over one store; each call is its own transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.session() as session:
            ensure_base(session, "starter", "abc")

    def person(self, name: str) -> str:
        with self.store.session() as session:
            return person(session, None, name).id

    def conversation(self, person_id: str) -> str:
        with self.store.session() as session:
            return new_conversation(session, person_id, "page").id

    def answer(
        self,
        person_id: str,
        prompt: str | list[dict[str, Any]],
        text: str,
        conversation: str | None = None,
        draw: str | None = None,
    ) -> str:
        """A generation by version 0; its id."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        conversation = conversation or self.conversation(person_id)
        with self.store.session() as session:
            return record_generation(
                session,
                person_id=person_id,
                conversation_id=conversation,
                messages=messages,
                version_id=0,
                adapter_hash=None,
                sampling={"temperature": 0.8},
                token_ids=[5, 6],
                logprobs=[-0.5, -1.25],
                text=text,
                finish_reason="stop",
                surface="page",
                latency=0.1,
                draw=draw,
            ).id

    def play(self, events: list[tuple[str, int, tuple[str, Any], int, bool]]) -> None:
        """Ann and Bob on three answers of Ann's, event by event: who, on which answer, kind and value, the other answer
        of a pair, and whether it is taken back.
        """
        people = {name: self.person(name) for name in ("ann", "bob")}
        answers = [self.answer(people["ann"], "Q", f"A{number}") for number in range(3)]
        for name, one, (kind, value), two, back in events:
            other = answers[two] if kind == "pair" else None
            if other == answers[one]:
                continue
            self.rate(answers[one], people[name], kind, value, other)
            if back:
                self.withdraw(answers[one], people[name], kind, other)

    def rate(self, generation: str, person_id: str, kind: str, value: Any, other: str | None = None) -> int:
        with self.store.session() as session:
            return rate(
                session,
                generation_id=generation,
                person_id=person_id,
                kind=kind,
                value=value,
                other=other,
                surface="page",
            ).id

    def withdraw(self, generation: str, person_id: str, kind: str, other: str | None = None) -> None:
        with self.store.session() as session:
            withdraw(session, generation_id=generation, person_id=person_id, kind=kind, other=other)

    def events(self) -> int:
        with self.store.session(reading=True) as session:
            return session.scalar(select(func.count()).select_from(Rating)) or 0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """The database of this test: None is SQLite in the store's folder, otherwise PostgreSQL."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(tmp_path: Path, url: str | None) -> Iterator[Store]:
    """An empty store, on each of the databases in turn."""
    opened = open_store(tmp_path / "home", url)
    yield opened
    opened.close()


@pytest.fixture
def scene(store: Store) -> Scene:
    """Short words over `store`."""
    return Scene(store)
