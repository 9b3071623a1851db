"""Numbers as people and models write them: the signs, digits and separators that mean the same, and what is no sign.

The notation is English: a full stop is the decimal point and a comma stands between thousands, so that `1.000` is one
and `3,5` is three and five. Other notations are read where they leave no doubt.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

# Hyphens, dashes and minus signs that stand for "-": U+2010 to U+2013, U+2212, and the small and the full-width one.
DASHES = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
_SAME = str.maketrans(
    dict.fromkeys(DASHES, "-")
    | {"\uff0b": "+", "\uff0e": ".", "\uff0c": ",", "\uff1d": "=", "\uff04": "$", "\u066b": ".", "\u066c": ","}
)
_CURRENCY = "[$\u20ac\u00a3\u00a5\uffe5\u20b9\u20bd\u20a9]"

_GROUPED = (
    r"[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?"  # 1,000 and 1,234.56
    r"|[1-9]\d{0,2}(?:\.\d{3})+,\d+"  # 1.234,56
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.]\d)"  # 1.000.000
    r"|[1-9]\d{0,2}(?:['\u2019\u00a0\u2009\u202f]\d{3})+(?!\d)(?:\.\d+)?"  # 1'000 and, between narrow spaces, 1 000
    r"|[1-9]\d?(?:,\d{2})+,\d{3}(?!\d)(?:\.\d+)?"  # 1,00,000
)
_PLAIN = r"\d+(?:\.\d+)?|(?<![\w.])\.\d+"
# Right behind these a dash is no sign of the number after it: digits and letters of scripts with cases (a Chinese
# character may stand before any number), closing brackets and units.
BEFORE_NO_SIGN = r"0-9A-Za-z\u00c0-\u024f\u0370-\u052f)\]%\u00b0\u2032\u2033"
_NUMBER = re.compile(
    # A dash is a sign unless something ends right before it (3-5, x-4, 7%-9%), or a space stands on both its sides:
    # that is a subtraction or the mark of a list, except behind an equals sign.
    rf"(?P<sign>(?<![{BEFORE_NO_SIGN}])-(?={_CURRENCY}?\.?\d)|(?<=[=\u2248])[ \t]*-[ \t]*(?=\.?\d))?"
    rf"{_CURRENCY}?(?P<number>(?<!\d)(?:{_GROUPED}|{_PLAIN}))(?P<exponent>[eE][+-]?\d{{1,3}}(?![\w]))?"
)


def plain(text: str) -> str:
    """The text with digits of every script as 0 to 9, and one sign each for minus, decimal point and comma."""
    text = text.translate(_SAME)
    return text if text.isascii() else "".join(_digit(character) for character in text)


def numbers(text: str) -> list[Decimal]:
    """The numbers in a text, in order, exactly. Digits right behind a letter are part of a name (H2O, cm2)."""
    text = plain(text)
    return [_value(found) for found in _NUMBER.finditer(text) if not _within_a_word(text, found.start("number"))]


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def _within_a_word(text: str, start: int) -> bool:
    """Whether a letter of a script with cases stands right before; a Chinese character ends a word there."""
    before = text[start - 1 : start]
    return before.lower() != before.upper()


def _value(found: re.Match[str]) -> Decimal:
    written = found["number"]
    if "," in written and "." in written and written.rindex(",") > written.rindex("."):
        written = written.replace(".", "").replace(",", ".")  # 1.234,56
    elif written.count(".") > 1:
        written = written.replace(".", "")
    value = Decimal(re.sub("[,'\u2019\u00a0\u2009\u202f]", "", written) + (found["exponent"] or ""))
    return -value if found["sign"] else value
