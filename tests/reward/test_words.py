"""Words, scripts and spellings."""

from __future__ import annotations

import pytest

from reward.words import is_ideograph, script, spellings, words


def test_words_are_counted_as_people_would() -> None:
    assert words("It's 5 o'clock, isn’t it?") == ["It's", "5", "o'clock", "isn’t", "it"]
    assert words("你好 world") == ["你", "好", "world"]
    assert len(words("สวัสดีครับ")) == 3  # Thai, four characters a word
    assert words("…!? -") == []


@pytest.mark.parametrize(
    ("word", "name"),
    [("word", "latin"), ("слово", "cyrillic"), ("字", "han"), ("カ", "kana"), ("12", ""), ("한", "hangul")],
)
def test_the_script_of_a_word(word: str, name: str) -> None:
    assert script(word) == name


def test_ideographs() -> None:
    assert is_ideograph("字")
    assert not is_ideograph("a")
    assert not is_ideograph("文字")


def test_one_spelling_for_many() -> None:
    assert spellings("Straße") == spellings("STRASSE")
    assert spellings("ｆｕｌｌ ｗｉｄｔｈ") == ["full", "width"]
    assert spellings("s\u00ado\u200bft") == ["soft"]
    assert spellings("e\u0301") == spellings("é")
