from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.duplicates import near_duplicates, pieces


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("Where is my parcel, please?", "where is my parcel please", True),
        ("How do I return the blue lamp that I bought?", "How do I return the blue lamp that I bought", True),
        ("Summarise this text for me: it rained all day.", "Summarise this text for me: it rained all days!", True),
        ("Summarise this text for me: it rained all day.", "Summarise this text for me: Ana moved to Rome.", False),
        ("Where is my parcel?", "What is the capital of Peru?", False),
        ("Where is my order 4711 now, please?", "Where is my order 4712 now, please?", False),
        ("Where is my order 4711 now, please?", "where is my order 4711 now please", True),
        ("What is 12 + 8?", "What is 93 + 4?", False),
        ("请把这句话翻译成中文：他有两只红色的猫。", "请把这句话翻译成中文:他有两只红色的猫", True),
        ("", "", True),
        ("?", "Where is it?", False),
    ],
)
def test_by_hand(one: str, other: str, near: bool) -> None:
    assert near_duplicates([one], [other]) == ({0} if near else set())


@given(
    st.lists(st.text("ab c", max_size=20), max_size=12),
    st.lists(st.text("ab c", max_size=20), max_size=12),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
)
def test_the_index_finds_what_comparing_all_finds(texts: list[str], others: list[str], threshold: float) -> None:
    def similarity(one: str, other: str) -> float:
        a, b = pieces(one), pieces(other)
        return len(a & b) / len(a | b)

    wanted = {
        place
        for place, text in enumerate(texts)
        if any(similarity(text, other) >= threshold - 1e-12 for other in others)
    }
    assert near_duplicates(texts, others, threshold) == wanted


def test_long_texts_are_compared_by_their_beginning() -> None:
    beginning = " ".join(f"word{number}" for number in random.Random(0).sample(range(10_000), 900))
    assert near_duplicates([beginning + " x" * 10_000_000], [beginning + " y"]) == {0}
