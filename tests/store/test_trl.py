from __future__ import annotations

import pytest

from problems import Problem
from store.datasets import freeze
from store.holdout import split_of
from store.people import erase, record_trained_on
from store.trl import dataset
from store.updates import finish_update, start_update

from .conftest import Scene


def learn(scene: Scene) -> tuple[int, str]:
    with scene.store.session() as session:
        update = start_update(session, algorithm="ppo", seed=0, settings={})
        frozen = freeze(session, seed=0)
        record_trained_on(session, update.id, frozen)
        frozen.to_json(scene.store.home / "updates" / str(update.id) / "dataset")
        finish_update(session, update.id, "rejected", None, {})
        return update.id, frozen.hash


WORDS = ("apples", "brakes", "candles", "drains", "engines", "fences", "gardens", "hinges", "islands", "jackets")


def rated(scene: Scene, words: str) -> None:
    ann = scene.person("ann")
    one, two = scene.answer(ann, f"tell me of {words}", "one"), scene.answer(ann, f"tell me of {words}", "two")
    scene.rate(one, ann, "pair", "right", two)
    scene.rate(one, ann, "thumb", -1)


def test_what_is_new_what_was_learned_and_what_never_is(scene: Scene) -> None:
    for words in WORDS[:5]:
        rated(scene, words)
    first, digest = learn(scene)
    for words in WORDS[5:]:
        rated(scene, words)
    second, later = learn(scene)
    one, two = dataset(scene.store, first), dataset(scene.store, second)
    trained = [sum(split_of(f"tell me of {w}", 0.15, "") == "train" for w in part) for part in (WORDS[:5], WORDS[5:])]
    assert min(trained) > 0
    assert (len(one["train"]), len(one["replay"])) == (trained[0], 0)
    assert (len(two["train"]), len(two["replay"])) == (trained[1], trained[0])
    assert len(two["holdout"]) == len(WORDS) - sum(trained)
    assert digest in one["train"].info.description
    assert later in two["replay"].info.description
    assert two["train"][0]["chosen"] == [{"role": "assistant", "content": "two"}]
    assert set(two["train"].column_names) == {"prompt", "chosen", "rejected"}


def test_thumbs_and_prompts_in_their_own_columns(scene: Scene) -> None:
    for words in WORDS:
        rated(scene, words)
    update, _ = learn(scene)
    unpaired, prompts = dataset(scene.store, update, "unpaired"), dataset(scene.store, update, "prompt")
    assert unpaired["train"][0]["label"] is False
    assert unpaired["train"][0]["completion"] == [{"role": "assistant", "content": "one"}]
    assert prompts["train"].column_names == ["prompt"]
    assert len(prompts["train"]) == len(unpaired["train"])
    with pytest.raises(Problem, match="no form"):
        dataset(scene.store, update, "parquet")


def test_erased_rows_are_noticed(scene: Scene) -> None:
    rated(scene, WORDS[0])
    update, _ = learn(scene)
    erase(scene.store, scene.person("ann"))
    with pytest.raises(Problem, match="erased"):
        dataset(scene.store, update)
    with pytest.raises(Problem, match="cannot be read"):
        dataset(scene.store, 99)
