from __future__ import annotations

import random

import pytest

from lm.starter import worlds


def test_halves_never_meet() -> None:
    rng = random.Random(0)
    for make in (worlds.first_name, worlds.full_name, worlds.city, worlds.goods):
        train = {make(rng, "train") for _ in range(2000)}
        test = {make(rng, "test") for _ in range(500)}
        assert len(test) > 10
        assert not train & test, make.__name__


def test_a_full_name_of_the_test_half_has_two_unseen_names() -> None:
    rng = random.Random(1)
    train = {part for _ in range(2000) for part in worlds.full_name(rng, "train").split()}
    test = {part for _ in range(300) for part in worlds.full_name(rng, "test").split()}
    assert not train & test


def test_numbers_of_the_halves_differ_and_stay_in_range() -> None:
    rng = random.Random(2)
    train = {worlds.number(rng, "train", 10, 99, "age") for _ in range(2000)}
    test = {worlds.number(rng, "test", 10, 99, "age") for _ in range(2000)}
    assert train | test == set(range(10, 100))
    assert not train & test


def test_a_fifth_is_held_out_on_every_machine() -> None:
    share = sum(worlds.held_out("order", number) for number in range(10_000)) / 10_000
    assert 0.18 < share < 0.22
    assert [n for n in range(20) if worlds.held_out("order", n)] == [0, 1, 3, 4, 8, 12, 16]


def test_an_empty_half_is_an_error() -> None:
    kept = next(word for word in "abcdefgh" if not worlds.held_out("letter", word))
    with pytest.raises(RuntimeError, match="test half"):
        worlds.draw("test", lambda: kept, "letter")


def test_wordings_of_the_test_half_are_new_combinations() -> None:
    rng = random.Random(3)
    leads, bodies = ["", "Hi,", "Please:", "Hey,"], ["where is it?", "when is it?", "what is it?", "who is it?"]
    train = {worlds.wording(rng, "train", leads, bodies, "w") for _ in range(500)}
    test = {worlds.wording(rng, "test", leads, bodies, "w") for _ in range(500)}
    assert train
    assert test
    assert not train & test
    assert "where is it?" in train | test  # no space where the lead-in is empty
