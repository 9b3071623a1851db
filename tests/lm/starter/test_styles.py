"""The recognisers, on answers written by hand and on the generator's own."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from lm.starter import styles
from lm.starter.question import Question, ask
from lm.starter.styles import Style, bare, draw_style, dress

QUESTION = Question(
    "service",
    ask("When?"),
    "Friday.",
    ("Your order arrives on Friday.",),
    ("Friday",),
    "contains",
    points=(("Order", "1234"), ("Arrives", "Friday")),
)


@pytest.mark.parametrize(
    "text",
    [
        "Of course! It arrives on Friday.",
        "Certainly, the price is 20 euros.",
        "Sure, here you go.",
        "Happy to help! 42",
        "Thank you for your question. It is red.",
        "I'd be happy to help with that.",
        "Dear customer, it left.",
        "好的！我喜欢茶。",
        "Great question! Paris.",
        "Absolutely! Here is the list.",
    ],
)
def test_openers(text: str) -> None:
    assert styles.has_opener(text)


@pytest.mark.parametrize(
    "text", ["Friday.", "The order arrives on Friday.", "Surely not.", "It is of course red.", "", "我喜欢茶。"]
)
def test_no_openers(text: str) -> None:
    assert not styles.has_opener(text)


@pytest.mark.parametrize(
    "text",
    [
        "Friday. Is there anything else I can help with?",
        "42. Let me know if you need more!",
        "Red. I hope this helps!",
        "It costs 5 euros.\nFeel free to ask again.",
        "Paris. Just ask if you need more. 🙂",
        "我喜欢茶。还有什么可以帮您？",
    ],
)
def test_closings(text: str) -> None:
    assert styles.has_closing(text)


@pytest.mark.parametrize("text", ["Friday.", "Feel free to return it within 14 days.", "Of course! It is red.", ""])
def test_no_closings(text: str) -> None:
    assert not styles.has_closing(text)


def test_a_closing_stands_at_the_end() -> None:
    assert not styles.has_closing("Let me know the number. " + "The order has left the house and is on its way. " * 3)


def test_lists() -> None:
    assert styles.is_list("- Order: 12\n- Arrives: Friday")
    assert styles.is_list("Of course!\n* one\n* two\nBye")
    assert styles.is_list("1. one\n2. two")
    assert not styles.is_list("- one item only")
    assert not styles.is_list("5 - 3 = 2. 7 - 2 = 5.")
    assert not styles.is_list("A well-known fact.")


def test_emoji() -> None:
    assert styles.has_emoji("Friday 🙂")
    assert styles.has_emoji("✨")
    assert not styles.has_emoji("Friday :) 5 × 3 = 15, 我喜欢茶。")


def test_tone() -> None:
    assert styles.is_formal("Certainly. It arrives on Friday.")
    assert styles.is_formal("Friday. I remain at your service.")
    assert not styles.is_formal("Sure thing! Friday.")
    assert styles.is_casual("Hey, easy one! 42")
    assert styles.is_casual("Friday. Just shout if you need more!")
    assert not styles.is_casual("Certainly. 42")
    assert not styles.is_casual("They are cooling down.")


def test_terse() -> None:
    assert styles.is_terse("Friday.")
    assert styles.is_terse("我喜欢那只黑色的猫。")
    assert styles.is_terse("g-a-r-d-e-n")
    assert not styles.is_terse("Of course! Friday.")
    assert not styles.is_terse("Your order with the number 1234 arrives on the next Friday.")
    assert not styles.is_terse("- a: b\n- c: d")
    assert not styles.is_terse("  ")


def test_prose() -> None:
    assert styles.is_prose("Of course! Friday.")
    assert styles.is_prose("Your order with the number 1234 arrives on the next Friday.")
    assert not styles.is_prose("Friday.")
    assert not styles.is_prose("- a: b\n- c: d")
    assert not styles.is_prose("")


def test_words_count_chinese_characters_too() -> None:
    assert styles.words("two words") == 2
    assert styles.words("我有书") == pytest.approx(2)
    assert styles.words("it's a well-known fact") == 4


def test_dressing() -> None:
    rng = random.Random(0)
    assert dress(QUESTION, Style("terse", False, False, False, "neutral"), rng) == "Friday."
    listed = dress(QUESTION, Style("list", True, True, False, "formal"), rng)
    assert "\n- Order: 1234\n- Arrives: Friday\n" in listed
    assert styles.has_opener(listed)
    assert styles.has_closing(listed)
    assert styles.is_formal(listed)
    casual = dress(QUESTION, Style("sentence", True, False, True, "casual"), rng)
    assert "Your order arrives on Friday." in casual
    assert styles.is_casual(casual)
    assert styles.has_emoji(casual)


def test_recognisers_agree_with_every_dressing() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        style = draw_style(rng)
        text = dress(QUESTION, style, rng)
        assert "Friday" in text
        assert styles.has_opener(text) == style.opener, text
        assert styles.has_closing(text) == style.closing, text
        assert styles.has_emoji(text) == style.emoji, text
        assert styles.is_list(text) == (style.form == "list"), text


def test_every_phrase_is_recognised_and_only_as_its_tone() -> None:
    for pool, recognise in ((styles.OPENERS, styles.has_opener), (styles.CLOSINGS, styles.has_closing)):
        for (_, register), phrases in pool.items():
            for phrase in phrases:
                answer = f"{phrase} 42" if recognise is styles.has_opener else f"42 {phrase}"
                assert recognise(answer), phrase
                assert styles.is_formal(answer) == (register == "formal"), phrase
                assert styles.is_casual(answer) == (register == "casual"), phrase


def test_each_style_comes_often_enough_to_choose_and_rarely_enough_to_gain() -> None:
    rng = random.Random(2)
    texts = [dress(QUESTION, draw_style(rng), rng) for _ in range(3000)]
    counts = Counter(name for text in texts for name, found in styles.STYLES.items() if found(text))
    for name in styles.STYLES:
        assert 0.15 < counts[name] / len(texts) < 0.6, (name, counts[name] / len(texts))


def test_bare_leaves_the_fact() -> None:
    assert bare("Of course! In Chinese: 我有两本书。 I hope this helps! 🙂") == "我有两本书。"
    assert bare("Certainly. Summary: Ana moved to Rome.") == "Ana moved to Rome."
    assert bare("Ana moved to Rome.") == "Ana moved to Rome."
    assert bare("- Sentence: I have two books.\n- In Chinese: 我有两本书。\nI hope this helps! 🙂") == "我有两本书。"
    assert bare("没问题！\n- 原文: 我有两本书。\n- 译文: I have two books.") == "I have two books."
