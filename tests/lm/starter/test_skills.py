from __future__ import annotations

import itertools
from collections import Counter

import pytest

from lm.starter.skills import CONDUCT, SKILLS, dialogues, questions
from lm.starter.styles import STYLES
from lm.suites import correct
from problems import Problem


def test_dialogues_repeat_with_their_seed() -> None:
    first = list(itertools.islice(dialogues("train", 3), 200))
    assert first == list(itertools.islice(dialogues("train", 3), 200))
    assert first != list(itertools.islice(dialogues("train", 4), 200))


def test_dialogues_alternate_and_end_with_an_answer() -> None:
    several = 0
    for dialogue in itertools.islice(dialogues("train", 0), 2000):
        roles = [message["role"] for message in dialogue.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in dialogue.messages)
        several += len(turns) > 2
    assert 600 < several < 1000


def test_every_skill_and_small_talk_is_trained() -> None:
    counts = Counter(dialogue.skill for dialogue in itertools.islice(dialogues("train", 1), 3000))
    assert set(counts) == {*SKILLS, "smalltalk"}
    assert min(counts.values()) > 250


@pytest.mark.parametrize("skill", list(SKILLS))
def test_hundreds_of_distinct_test_questions_a_skill(skill: str) -> None:
    items = questions("test", 0, 600, skill)
    assert len({str(item.messages) for item in items}) == 600
    assert all(item.skill == skill and item.messages[-1]["role"] == "user" for item in items)


def test_questions_of_the_test_half_are_never_trained_on() -> None:
    asked = {
        message["content"]
        for dialogue in itertools.islice(dialogues("train", 0), 20_000)
        for message in dialogue.messages
        if message["role"] == "user"
    }
    test = {
        item.messages[-1]["content"]
        for item in questions("test", 0, 800)
        # "And who is it about?" is asked in both halves, of other people.
        if item.skill in ("education", "translation") or len(item.messages) <= 2
    }
    assert len(test) > 600
    assert not asked & test


def test_questions_take_the_skills_in_turn_and_repeat_with_their_seed() -> None:
    items = questions("train", 5, 9)
    assert [item.skill for item in items] == [*SKILLS, *SKILLS, "service"]
    assert items == questions("train", 5, 9)
    assert questions("train", 5, 4) == items[:4]


def test_a_reference_answers_its_own_question() -> None:
    for item in questions("test", 1, 400):
        assert correct(item, item.references[0])
        assert not correct(item, "Potato.")


def test_one_question_in_five_follows_another_and_cannot_be_understood_alone() -> None:
    items = questions("test", 2, 800)
    followed = [item for item in items if any(message["role"] == "assistant" for message in item.messages)]
    assert 0.14 < len(followed) / len(items) < 0.26
    assert {item.skill for item in followed} == set(SKILLS)


def test_every_style_has_its_share_of_the_answers() -> None:
    answers = [
        message["content"]
        for dialogue in itertools.islice(dialogues("train", 4), 4000)
        if dialogue.skill in SKILLS
        for message in dialogue.messages
        if message["role"] == "assistant"
    ]
    for name, found in STYLES.items():
        assert 0.15 < sum(map(found, answers)) / len(answers) < 0.6, name


@pytest.mark.parametrize("kind", list(CONDUCT))
def test_conduct_is_asked_for_by_kind_and_its_own_answers_pass(kind: str) -> None:
    items = questions("test", 0, 120, kind)
    assert {item.skill for item in items} == {kind}
    assert all(correct(item, item.answer) for item in items)
    assert not any(correct(item, "Of course! It is Paris.") for item in items)


def test_a_half_that_has_fewer_questions_is_taken_whole() -> None:
    items = questions("test", 0, 10_000, "unsafe")
    assert 100 < len(items) < 10_000
    assert len({str(item.messages) for item in items}) == len(items)


def test_an_unknown_skill_is_a_problem() -> None:
    with pytest.raises(Problem, match="'cooking'"):
        questions("train", 0, 1, "cooking")
