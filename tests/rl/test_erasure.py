"""After a whole update and an erasure no file of the home holds a word of the person, in whatever encoding."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from lm.loading import Base
from problems import Problem
from rl.update import run_update
from rl.workspace import Knobs
from store.conversations import new_conversation, person, record_generation
from store.database import Store
from store.people import erase
from store.ratings import rate

WORD = "Zanzibarquokka"


def answer(session: Any, whom: str, conversation: str, asked: str, text: str) -> str:
    return record_generation(
        session,
        person_id=whom,
        conversation_id=conversation,
        messages=[{"role": "user", "content": asked}],
        version_id=0,
        adapter_hash=None,
        sampling={},
        token_ids=[],
        logprobs=[],
        text=text,
        finish_reason="stop",
        surface="api",
        latency=0.1,
    ).id


def speak(store: Store) -> str:
    """Somebody who asks about a word that nobody else uses, in twenty conversations."""
    with store.session() as session:
        bob = person(session, None, "bob").id
        for i in range(20):
            talk = new_conversation(session, bob, "api").id
            asked = f"{WORD} {i}?"
            left, right = (answer(session, bob, talk, asked, f"{WORD} {text}") for text in ("yes", "never at all"))
            rate(session, generation_id=left, person_id=bob, kind="pair", value="left", other=right, surface="api")
    return bob


def found(home: Path, base: Base) -> list[str]:
    """Files in which the word stands: as bytes, packed, or as the token ids that spell it."""
    places = []
    for file in sorted(home.rglob("*")):
        if not file.is_file():
            continue
        texts = [file.read_bytes().decode("utf-8", "replace")]
        if file.suffix == ".gz":
            texts.append(gzip.decompress(file.read_bytes()).decode("utf-8", "replace"))
        if file.suffix == ".safetensors":
            whole = [t.flatten().tolist() for t in load_file(file).values() if not t.is_floating_point()]
            texts += [base.tokenizer.decode([i for i in ids if 0 <= i < len(base.tokenizer)]) for ids in whole]
        if any(WORD in text for text in texts):
            places.append(str(file.relative_to(home)))
    return places


def test_no_word_of_an_erased_person_is_left_in_any_encoding(store: Store, tiny_base: Base, knobs: Knobs) -> None:
    bob = speak(store)
    first = run_update(store, tiny_base, knobs)
    before = found(store.home, tiny_base)
    assert "updates/1/anchor/replay.safetensors" in before, "the test finds token ids"
    assert any(name.startswith("updates/1/dataset") for name in before)
    assert not any("adapter" in name for name in before)
    older = store.home / "updates/1/train/adapter/replay.safetensors"  # as older editions left it
    older.write_bytes((store.home / "updates/1/anchor/replay.safetensors").read_bytes())
    erase(store, bob)
    assert found(store.home, tiny_base) == []
    again = run_update(store, tiny_base, knobs, force=True)  # the others' prompts go on being replayed
    assert again.version != first.version
    assert (store.home / "updates/2/anchor/replay.safetensors").is_file()
    assert found(store.home, tiny_base) == []


def test_an_answer_that_ends_after_its_person_was_erased_is_not_kept(store: Store, tiny_base: Base) -> None:
    with store.session() as session:
        whom = person(session, None, "cleo").id
        talk = new_conversation(session, whom, "api").id
    erase(store, whom)
    with pytest.raises(Problem, match="was erased"), store.session() as session:
        answer(session, whom, talk, WORD, WORD)
    assert found(store.home, tiny_base) == []
