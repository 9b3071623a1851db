from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select, text

from store.conversations import add_message, path_to, set_consent
from store.database import Store, open_store
from store.datasets import freeze
from store.engines import reading
from store.keys import add_key
from store.ratings import present
from store.schema import Generation, Rating
from store.transfer import clear, copy_rows, count_rows
from store.updates import start_update
from store.versions import add_version, audit_trail, promote

from .conftest import Scene

WAYS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


def fill(scene: Scene) -> str:
    """Something in every table; the last of a chain of messages whose ids are in no order."""
    ann, bob = scene.person("ann"), scene.person("Bob 鲍勃")
    answers = [scene.answer(ann, "Q", text, draw="thompson") for text in ("one", "two", "línea\u2028 \x07")]
    scene.rate(answers[0], ann, "pair", "tie", answers[1])
    scene.rate(answers[2], bob, "tags", ["Too long", "太长"])
    scene.rate(answers[2], bob, "thumb", -1)
    scene.withdraw(answers[2], bob, "thumb")
    conversation = scene.conversation(ann)
    with scene.store.session() as session:
        set_consent(session, bob, False)
        add_key(session, "Bob's", ["rate", "chat"], bob)
        update = start_update(session, algorithm="ppo", seed=2**62, settings={"rounds": 3})
        made = add_version(
            session, parent=0, adapter="updates/1/train/adapter", adapter_hash="aa", update_id=update.id,
            dataset_hash="dd", report={"checks": [1.5, None]},
        )  # fmt: skip
        promote(session, made.id, "ann", "better")
        last = None
        for turn in range(30):
            last = add_message(session, conversation, last, "user", f"turn {turn}", answers[0] if turn else None).id
    return str(last)


@pytest.mark.parametrize(("first", "second"), WAYS)
def test_every_row_arrives_and_the_copy_goes_on_alike(
    tmp_path: Path, request: pytest.FixtureRequest, first: str, second: str
) -> None:
    urls = {"sqlite": None, "postgresql": request.getfixturevalue("postgres_url")}
    source, target = open_store(tmp_path / "source", urls[first]), open_store(tmp_path / "target", urls[second])
    last = fill(Scene(source))
    with source.session(reading=True) as session:
        dataset, trail = freeze(session, seed=1), [each.reason for each in audit_trail(session)]
        counts = count_rows(session.connection())
        told = [each.content for each in path_to(session, last)]
    with reading(source.engine).connect() as rows, target.engine.begin() as connection:
        copy_rows(rows, connection)
    with target.session(reading=True) as session:
        assert count_rows(session.connection()) == counts
        assert freeze(session, seed=1) == dataset
        assert set(session.scalars(select(Generation.draw))) == {"thompson"}
        assert [each.reason for each in audit_trail(session)] == trail
        assert [each.content for each in path_to(session, last)] == told
    source.close()
    target.close()


def test_a_number_that_was_given_out_does_not_come_back(tmp_path: Path, postgres_url: str) -> None:
    """On the way from SQLite to PostgreSQL and back: the last rating's row is gone, its number is not free."""
    stores = [open_store(tmp_path / "a"), open_store(tmp_path / "b", postgres_url), open_store(tmp_path / "c")]
    scene = Scene(stores[0])
    ann = scene.person("ann")
    answer = scene.answer(ann, "Q", "a")
    last = [scene.rate(answer, ann, "score", value) for value in (3, 4, 5)][-1]
    with stores[0].session() as session:
        session.execute(text("DELETE FROM ratings WHERE id = :last"), {"last": last})
    for one, other in pairwise(stores):
        with reading(one.engine).connect() as rows, other.engine.begin() as connection:
            copy_rows(rows, connection)
    for store in stores[1:]:
        assert Scene(store).rate(answer, ann, "score", 6) == last + 1
        with store.session(reading=True) as session:
            assert [each.value for each in present(session, answer, ann)] == [6]
            assert session.get(Rating, last) is None
    for store in stores:
        store.close()


def test_clearing_leaves_no_row(store: Store) -> None:
    fill(Scene(store))
    with store.engine.begin() as connection:
        clear(connection)
        assert not any(count_rows(connection).values())
