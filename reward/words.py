"""A text's words, in scripts with spaces between them and in scripts without."""

from __future__ import annotations

import unicodedata

import regex

IDEOGRAPHS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}ー"  # a character stands for a word
RUN_ON = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # words of about four characters, nothing between them
_WORD = regex.compile(
    rf"[{IDEOGRAPHS}]|[{RUN_ON}]{{1,4}}"
    rf"|[[\p{{L}}\p{{M}}\p{{N}}]--[{IDEOGRAPHS}{RUN_ON}]]+(?:['’][[\p{{L}}\p{{M}}]--[{IDEOGRAPHS}{RUN_ON}]]+)*",
    regex.V1,
)
_SPELLING = regex.compile(
    rf"[{IDEOGRAPHS}{RUN_ON}\p{{Hangul}}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{IDEOGRAPHS}{RUN_ON}\p{{Hangul}}]]+", regex.V1
)
_UNSEEN = regex.compile(r"[\p{Cf}\p{DI}]+")  # zero-width characters, soft hyphens, fillers, variation selectors
_OVERLAID = regex.compile(r"[\p{M}&&\p{Script=Inherited}]+", regex.V1)  # strokes and dots that no letter is made with


def words(text: str) -> list[str]:
    """Words as they are counted: runs of letters and digits; in Chinese and Japanese each character, in Thai, Lao,
    Khmer and Burmese every four.
    """
    return _WORD.findall(text)


def is_ideograph(word: str) -> bool:
    """Whether one of `words` is a character of Chinese or Japanese."""
    return len(word) == 1 and script(word) in ("han", "kana")


def script(word: str) -> str:
    """The script of a word's first letter, as Unicode names it, in lower case: "latin", "han", "kana", "cyrillic" ...

    Empty where the word has no letter.
    """
    for character in word:
        if character.isalpha():
            first = unicodedata.name(character, "").partition(" ")[0]
            if first in ("CJK", "IDEOGRAPHIC"):
                return "han"
            if first.startswith(("HIRAGANA", "KATAKANA", "HALFWIDTH")):
                return "kana"
            return first.lower()
    return ""


def spellings(text: str) -> list[str]:
    """Words as they are compared with a list: in one case, in one form of each character (Unicode's NFKC), without
    what cannot be seen and without strokes laid over letters. In scripts without spaces, and in Korean, whose words
    grow endings, each character is one.
    """
    plain = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).casefold()
    return _SPELLING.findall(_OVERLAID.sub("", _UNSEEN.sub("", unicodedata.normalize("NFKC", plain))))
