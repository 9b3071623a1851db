"""A store's secret salts: who has which, and where they go."""

from __future__ import annotations

import json
from pathlib import Path

from store.backup import backup
from store.database import Store, migrate, open_store
from store.datasets import freeze
from store.engines import make_engine
from store.exports import export
from store.holdout import Sides
from store.opinions import asked
from store.people import everything_of
from store.restore import restore
from store.salts import FILE, salt_of

from .conftest import Scene


def salts(store: Store) -> tuple[str, str]:
    with store.session(reading=True) as session:
        return salt_of(session, "holdout"), salt_of(session, "import")


def sides(store: Store, words: list[str]) -> list[str | None]:
    """On which side each opening falls, asked by somebody new."""
    scene = Scene(store)
    ann = scene.person("ann")
    conversations = [scene.conversation(ann) for _ in words]
    for each, conversation in zip(words, conversations, strict=True):
        scene.answer(ann, each, "a", conversation)
    with store.session(reading=True) as session:
        split = Sides(session, 0.5, 0.0)
        messages = [[{"role": "user", "content": each}] for each in words]
        return [split.of(talk, said, ann) for talk, said in zip(conversations, messages, strict=True)]


WORDS = [f"Tell me of {number} and of {number * 7919}" for number in range(60)]


def test_two_stores_hold_out_different_openings_and_one_store_always_the_same(salted: None, tmp_path: Path) -> None:
    one, two = open_store(tmp_path / "one"), open_store(tmp_path / "two")
    assert len({*salts(one), *salts(two)}) == 4
    assert min(map(len, salts(one))) == 64
    first = sides(one, WORDS)
    assert first != sides(two, WORDS)
    assert {"train", "holdout"} == set(first)
    one.close()
    again = open_store(tmp_path / "one")
    assert sides(again, WORDS) == first
    again.close()
    two.close()


def test_a_store_from_before_keeps_its_split(salted: None, tmp_path: Path, url: str | None) -> None:
    engine = make_engine(url or f"sqlite:///{(tmp_path / 'ratchet.db')}")
    migrate(engine)
    migrate(engine, "0005")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO people (id, consent, created) VALUES ('old', true, '2026-01-01 00:00:00')"
        )
    engine.dispose()
    store = open_store(tmp_path, url)
    holdout, imports = salts(store)
    assert (holdout, len(imports)) == ("", 64)
    store.close()


def test_the_salt_of_earlier_imports_moves_from_its_file_into_the_store(salted: None, tmp_path: Path) -> None:
    open_store(tmp_path).close()
    engine = make_engine(f"sqlite:///{tmp_path / 'ratchet.db'}")
    migrate(engine, "0005")
    engine.dispose()
    (tmp_path / FILE).write_text("ab" * 32)
    store = open_store(tmp_path)
    assert salts(store)[1] == "ab" * 32
    assert not (tmp_path / FILE).exists()
    store.close()
    (tmp_path / FILE).write_text("cd" * 32)  # somebody else's, put there later
    store = open_store(tmp_path)
    assert salts(store)[1] == "ab" * 32
    assert (tmp_path / FILE).exists()
    store.close()


def test_a_backup_takes_the_salts_along_onto_either_database(
    salted: None, tmp_path: Path, url: str | None, postgres_url: str
) -> None:
    store = open_store(tmp_path / "home", url)
    split, kept = sides(store, WORDS), salts(store)
    backup(store, tmp_path / "store.tar")
    store.close()
    for name, target in (("lite", None), ("post", postgres_url if url is None else None)):
        if target is not None:
            open_store(tmp_path / "before", target).close()  # an empty store, with salts of its own
        restore(tmp_path / "store.tar", tmp_path / name, target)
        back = open_store(tmp_path / name, target)
        assert salts(back) == kept
        with back.session(reading=True) as session:
            again = Sides(session, 0.5, 0.0)
            assert [again.of(*each) for each in _asked(back)] == split
        back.close()


def _asked(store: Store) -> list[tuple[str, list[dict[str, str]], str]]:
    with store.session(reading=True) as session:
        found = {each.messages[0]["content"]: each for each in asked(session)}
    return [(found[words].conversation, found[words].messages, found[words].person) for words in WORDS]


def test_no_export_holds_a_salt(salted: None, store: Store, tmp_path: Path) -> None:
    scene = Scene(store)
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "A"), ann, "thumb", 1)
    export(store, tmp_path / "out.jsonl", "unpaired")
    with store.session(reading=True) as session:
        written = (tmp_path / "out.jsonl").read_text() + json.dumps(everything_of(session, ann))
        frozen = freeze(session, seed=0)
    frozen.to_json(tmp_path / "dataset")
    written += "".join(each.read_text() for each in (tmp_path / "dataset").iterdir())
    assert '"A"' in written
    assert not any(each in written for each in salts(store))


def test_down_and_up_again_makes_new_salts(salted: None, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    before = salts(store)
    store.close()
    engine = make_engine(f"sqlite:///{tmp_path / 'ratchet.db'}")
    migrate(engine, "0005")
    engine.dispose()
    store = open_store(tmp_path)
    assert not set(before) & set(salts(store))
    store.close()
