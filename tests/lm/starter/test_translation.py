from __future__ import annotations

import random
from typing import Any

import pytest

from lm.starter import translation
from lm.suites import has_chinese


class Picks:
    """Stands in for a random source: picks what it is told, by its English."""

    def __init__(self, kind: int, *wanted: str) -> None:
        self.kind, self.wanted = kind, set(wanted)

    def randrange(self, _: int) -> int:
        return self.kind

    def choice(self, options: Any) -> Any:
        return next((option for option in options if self.wanted & set(option)), options[0])


@pytest.mark.parametrize(
    ("picks", "english", "chinese"),
    [
        (Picks(0, "She", "have", "two", "red", "book"), "She has two red books.", "她有两本红色的书。"),
        (
            Picks(1, "My mother", "want", "that", "umbrella", "new"),
            "My mother wants that new umbrella.",
            "我的妈妈想要那把新的雨伞。",
        ),
        (Picks(2, "He", "school", "tomorrow"), "He will go to the school tomorrow.", "他明天要去学校。"),
        (Picks(3, "This", "cat", "very", "big"), "This cat is very big.", "这只猫很大。"),
        (Picks(4, "We", "tea", "every morning"), "We drink tea every morning.", "我们每天早上喝茶。"),
        (Picks(4, "The doctor", "letters", "often"), "The doctor often writes letters.", "医生经常写信。"),
        (
            Picks(5, "three", "old", "chair", "kitchen"),
            "There are three old chairs in the kitchen.",
            "厨房里有三把旧的椅子。",
        ),
        (Picks(6, "small", "key"), "Where is my small key?", "我的小的钥匙在哪里？"),
        (Picks(7, "like", "this", "new", "car"), "Do you like this new car?", "你喜欢这辆新的车吗？"),
    ],
)
def test_sentences_by_hand(picks: Any, english: str, chinese: str) -> None:
    assert translation.sentence(picks) == (english, chinese)


def test_each_sentence_has_one_translation_in_either_direction() -> None:
    rng = random.Random(0)
    pairs = {translation.sentence(rng) for _ in range(40_000)}
    assert len({english for english, _ in pairs}) == len(pairs)
    assert len({chinese for _, chinese in pairs}) == len(pairs)


def test_verbs_agree_with_their_subject() -> None:
    rng = random.Random(1)
    made = " ".join(translation.sentence(rng)[0] for _ in range(5000))
    assert "He have" not in made
    assert "They has" not in made
    assert "The doctor drink " not in made
    assert "My friend studies" in made


def test_both_directions_and_both_languages_of_asking() -> None:
    rng = random.Random(2)
    made = [translation.question(rng, "train") for _ in range(400)]
    into_chinese = [question for question in made if has_chinese(question.references[0])]
    assert 150 < len(into_chinese) < 250
    assert {question.language for question in into_chinese} == {"en", "zh"}
    for question in made:
        assert question.core == question.references[0]
        assert all(question.core in said for said in question.sentences)


def test_test_sentences_never_appear_in_training() -> None:
    rng = random.Random(3)
    train = {translation.question(rng, "train").core for _ in range(6000)}
    test = {translation.question(rng, "test").core for _ in range(1000)}
    assert not train & test
    assert len(test) > 500
