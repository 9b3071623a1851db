"""A text's words: counted, told apart by script, and compared with a list however they are disguised."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.words import is_ideograph, script, spellings, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3 o’clock, isn't it?", ["It's", "3", "o’clock", "isn't", "it"]),
        ("我有2本书。", ["我", "有", "2", "本", "书"]),
        ("コーヒー", ["コ", "ー", "ヒ", "ー"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("สวัสดี", ["สวัส", "ดี"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("... !?", []),
    ],
)
def test_words_are_counted_in_scripts_with_and_without_spaces(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("Word", "latin"), ("слово", "cyrillic"), ("字", "han"), ("々", "han"), ("か", "kana"), ("ｶ", "kana"), ("42", "")],
)
def test_a_word_has_the_script_of_its_first_letter(word: str, expected: str) -> None:
    assert script(word) == expected
    assert is_ideograph(word) == (expected in ("han", "kana"))


@pytest.mark.parametrize(
    "disguised",
    [
        "BOMB",
        "ｂｏｍｂ",  # full width
        "𝐛𝐨𝐦𝐛",  # mathematical letters
        "bo\u200bmb",  # zero-width space
        "b\u2060o\ufeffm\u00adb",  # word joiner, byte order mark, soft hyphen
        "bo\u034fmb",  # grapheme joiner
        "bo\u3164mb",  # a filler, which is no format character
        "bo\ufe0fmb",  # variation selector
        "b\u0336o\u0336m\u0336b\u0336",  # struck through
    ],
)
def test_a_disguised_word_is_spelt_as_it_looks(disguised: str) -> None:
    assert spellings(disguised) == ["bomb"]


def test_letters_with_marks_of_their_own_stay_others() -> None:
    assert spellings("año") != spellings("ano")
    assert spellings("cafe\u0301") == spellings("CAFÉ") == ["café"]
    assert spellings("Straße") == spellings("STRASSE")
    assert spellings("हिंदी") != spellings("हदी"), "vowel signs are letters of their script"


@settings(deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1), st.data())
def test_no_width_and_nothing_unseen_changes_a_spelling(word: str, data: st.DataObject) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if data.draw(st.booleans()) else c for c in word)
    unseen = data.draw(st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u115f\u3164\ufe01\U000e0041"))
    at = data.draw(st.integers(0, len(word)))
    assert spellings(wide[:at] + unseen + wide[at:]) == [word]


@settings(deadline=None)
@given(st.text())
def test_any_text_has_words_and_spellings(text: str) -> None:
    assert all(words(text))
    assert all(spellings(text))
    assert all(script(word) == script(word).lower() for word in words(text))
