from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import select

from problems import Problem
from store.conversations import add_message, set_consent
from store.database import Store, open_store
from store.datasets import Frozen, freeze
from store.keys import add_key, find_key, keys_of
from store.people import (
    erase,
    everything_of,
    find_person,
    flagged_versions,
    holdings,
    list_people,
    record_trained_on,
)
from store.ratings import present
from store.schema import Generation, Person, Rating, Tables
from store.updates import finish_update, start_update, unfinished, update_lock
from store.versions import add_version

from .conftest import Scene

SECRET = "xylophone-quagmire-47"


def talk(scene: Scene, who: str, words: str = SECRET) -> tuple[str, str]:
    """A conversation of that person about those words, with every kind of opinion; (conversation, generation)."""
    conversation = scene.conversation(who)
    answer = scene.answer(who, f"about {words}", f"answer on {words}", conversation)
    with scene.store.session() as session:
        asked = add_message(session, conversation, None, "user", f"about {words}")
        add_message(session, conversation, asked.id, "assistant", f"answer on {words}", answer)
    other = scene.answer(who, f"about {words}", f"another on {words}", conversation)
    scene.rate(answer, who, "thumb", 1)
    scene.rate(answer, who, "comment", f"comment {words}")
    scene.rate(answer, who, "correction", f"correction {words}")
    scene.rate(answer, who, "tags", [words])
    scene.rate(answer, who, "pair", "left", other)
    return conversation, answer


def learn(scene: Scene, parent: int = 0) -> tuple[int, int]:
    """An update that freezes what is there and makes a version; (update, version)."""
    with scene.store.session() as session:
        update = start_update(session, algorithm="ppo", seed=0, settings={})
        frozen = freeze(session, seed=0)
        record_trained_on(session, update.id, frozen)
        frozen.to_json(scene.store.home / "updates" / str(update.id) / "dataset")
        version = add_version(
            session, parent=parent, adapter="a", adapter_hash="h", update_id=update.id, dataset_hash="d", report={}
        )
        finish_update(session, update.id, "rejected", version.id, {})
        return update.id, version.id


def bytes_of(store: Store) -> bytes:
    """Every byte of the store: its files, and on PostgreSQL every row of every table."""
    files = b"".join(path.read_bytes() for path in sorted(store.home.rglob("*")) if path.is_file())
    if store.engine.dialect.name == "sqlite":
        return files
    with store.session(reading=True) as session:
        rows = [repr(tuple(row)) for table in Tables.metadata.sorted_tables for row in session.execute(select(table))]
    return files + "\n".join(rows).encode()


def test_no_byte_of_an_erased_person_is_left_in_any_file(scene: Scene) -> None:
    ann, bob = scene.person(f"ann {SECRET}"), scene.person("bob")
    _, answer = talk(scene, ann)
    talk(scene, bob, "harmless-words-12")
    scene.rate(answer, bob, "comment", f"bob quotes {SECRET}")
    scene.rate(answer, bob, "thumb", -1)
    learn(scene)
    assert SECRET.encode() in bytes_of(scene.store)
    done = erase(scene.store, ann)
    assert SECRET.encode() not in bytes_of(scene.store)
    assert b"harmless-words-12" in bytes_of(scene.store)
    assert (done.messages, done.generations, done.ratings) == (2, 2, 5)
    assert done.dataset_rows > 3


def test_what_others_thought_stays_and_counts_for_nothing(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    _, answer = talk(scene, ann)
    scene.rate(answer, bob, "thumb", -1)
    scene.rate(answer, bob, "correction", f"bob on {SECRET}")
    erase(scene.store, ann)
    with scene.store.session(reading=True) as session:
        assert [each.kind for each in present(session, answer)] == ["thumb"]
        frozen = freeze(session, seed=0)
        assert (frozen.pairs, frozen.thumbs, frozen.prompts) == ([], [], [])
        tombstone = session.get_one(Generation, answer)
        assert (tombstone.text, tombstone.messages, tombstone.token_ids) == ("", [], [])


def test_an_erased_person_stays_out_whatever_is_set_later(scene: Scene) -> None:
    ann = scene.person("ann")
    talk(scene, ann)
    erase(scene.store, ann)
    with scene.store.session() as session, pytest.raises(Problem, match="erased"):
        set_consent(session, ann, True)
    again = erase(scene.store, ann)
    assert (again.ratings, again.dataset_rows) == (0, 0)


def test_versions_trained_on_them_and_their_descendants_are_flagged(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    talk(scene, bob, "b")
    _, clean = learn(scene)
    talk(scene, ann)
    _, tainted = learn(scene, parent=clean)
    with scene.store.session() as session:
        set_consent(session, ann, False)
    _, child = learn(scene, parent=tainted)
    _, sibling = learn(scene, parent=clean)
    with scene.store.session(reading=True) as session:
        assert flagged_versions(session) == []
        assert holdings(session, ann).versions == [tainted, child]
    assert erase(scene.store, ann).versions == [tainted, child]
    with scene.store.session(reading=True) as session:
        assert flagged_versions(session) == [tainted, child]
        assert sibling not in flagged_versions(session)


def test_a_conversation_s_owner_and_who_asked_count_as_learned_from(scene: Scene) -> None:
    owner, asker, rater = (scene.person(name) for name in ("owner", "asker", "rater"))
    conversation = scene.conversation(owner)
    scene.rate(scene.answer(asker, "Q", "a", conversation), rater, "thumb", 1)
    _, version = learn(scene)
    with scene.store.session(reading=True) as session:
        assert [holdings(session, each).versions for each in (owner, asker, rater)] == [[version]] * 3


def test_an_update_that_was_cut_off_is_ended_and_its_dataset_cannot_be_read(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    talk(scene, ann)
    talk(scene, bob, "b")
    with scene.store.session() as session:
        update = start_update(session, algorithm="ppo", seed=0, settings={})
        frozen = freeze(session, seed=0)
        record_trained_on(session, update.id, frozen)
    folder = scene.store.home / "updates" / str(update.id) / "dataset.tmp"
    frozen.to_json(folder)
    erase(scene.store, ann)
    with scene.store.session(reading=True) as session:
        assert unfinished(session) is None
    with pytest.raises(Problem, match="were erased"):
        Frozen.from_json(folder)
    assert json.loads((folder / "dataset.json").read_text())["hash"] == frozen.hash
    assert all(json.loads(row)["person"] == bob for row in (folder / "thumbs.jsonl").read_text().splitlines())


def test_nobody_is_erased_while_an_update_runs(scene: Scene) -> None:
    ann = scene.person("ann")
    talk(scene, ann)
    with update_lock(scene.store), pytest.raises(Problem, match="running already"):
        erase(scene.store, ann)
    with scene.store.session(reading=True) as session:
        assert session.get_one(Person, ann).erased is None


def test_others_write_while_somebody_is_erased(scene: Scene, url: str | None) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    talk(scene, ann)
    answer = scene.answer(bob, "Q", "a")
    acknowledged: list[int] = []
    stop = threading.Event()
    second = open_store(scene.store.home, url)

    def go_on() -> None:
        while not stop.is_set():
            acknowledged.append(Scene(second).rate(answer, bob, "thumb", 1))

    writer = threading.Thread(target=go_on)
    writer.start()
    erase(scene.store, ann)
    stop.set()
    writer.join()
    second.close()
    assert SECRET.encode() not in bytes_of(scene.store)
    with scene.store.session(reading=True) as session:
        assert acknowledged
        assert all(session.get(Rating, each) is not None for each in acknowledged)


def test_everything_of_a_person_is_handed_out_and_nothing_of_others(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    talk(scene, ann)
    talk(scene, bob, "other-words")
    with scene.store.session(reading=True) as session:
        handed = json.dumps(everything_of(session, ann))
        counts = holdings(session, ann)
    assert handed.count(SECRET) >= 9
    assert "other-words" not in handed
    assert counts.ratings == {"thumb": 1, "comment": 1, "correction": 1, "tags": 1, "pair": 1}
    assert (counts.conversations, counts.messages, counts.generations) == (1, 2, 2)


def test_their_keys_are_handed_out_without_hashes_and_end_with_them(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    with scene.store.session() as session:
        key, secret = add_key(session, f"laptop of {SECRET}", person_id=ann)
        other, others = add_key(session, "bob's", person_id=bob)
    with scene.store.session(reading=True) as session:
        assert holdings(session, ann).keys == [key.id]
        [handed] = everything_of(session, ann)["keys"]
    assert handed["prefix"] == secret[:9]
    for hidden in (secret, key.digest, key.page_digest):
        assert hidden not in json.dumps(handed)
    erase(scene.store, ann)
    with scene.store.session(reading=True) as session:
        assert find_key(session, secret) is None
        assert [(each.name, each.revoked is None) for each in keys_of(session, ann)] == [("", False)]
        assert holdings(session, ann).keys == []
        found = find_key(session, others)
        assert found is not None
        assert (found.id, found.name) == (other.id, "bob's")
    assert SECRET.encode() not in bytes_of(scene.store)


def test_people_are_found_by_id_and_by_name(scene: Scene) -> None:
    ann = scene.person("ann")
    with scene.store.session(reading=True) as session:
        assert find_person(session, "ann").id == find_person(session, ann).id == ann
        assert [each.name for each in list_people(session)] == ["ann"]
        with pytest.raises(Problem, match="no person carl"):
            find_person(session, "carl")


def test_a_person_who_is_not_there_is_a_problem(store: Store) -> None:
    with pytest.raises(Problem, match="person"):
        erase(store, "nobody")
