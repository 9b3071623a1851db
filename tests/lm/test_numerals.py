"""Numbers in answers: signs, digits, separators, and what is no sign."""

from __future__ import annotations

import sys
import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.numerals import DASHES, numbers, plain


def found(text: str) -> list[str]:
    return [format(number.normalize(), "f") for number in numbers(text)]


@pytest.mark.parametrize("dash", ["-", *DASHES])
def test_every_dash_is_a_minus_or_none(dash: str) -> None:
    assert found(f"x = {dash}4") == found(f"({dash}4)") == found(f"答案是{dash}4") == found(f"= {dash} 4") == ["-4"]
    assert found(f"{dash}4") == found(f"'{dash}4'") == found(f"**{dash}4**") == found(f"{dash}$4") == ["-4"]
    assert found(f"3{dash}5") == found(f"3 {dash} 5") == found(f"$3{dash}$5") == found(f"3%{dash}5%") == ["3", "5"]
    assert found(f"{dash} 4 apples") == found(f"x{dash}4") == found(f"f(x){dash}4") == ["4"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,000", "1000"),
        ("1,234,567.5", "1234567.5"),
        ("1.000", "1"),
        ("1.000.000", "1000000"),
        ("1.234,56", "1234.56"),
        ("1'000", "1000"),
        ("1\u202f000", "1000"),
        ("1\u00a0000 km", "1000"),
        ("1,00,000", "100000"),
        ("3,5", "3 5"),
        ("1, 000", "1 0"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("so...5", "5"),
        ("42.", "42"),
        ("1e3", "1000"),
        ("1.5e-3", "0.0015"),
        ("1e99999", "1"),
        ("5km", "5"),
        ("50%", "50"),
        ("€5", "5"),
        ("H2O, CO2 and cm2", ""),
        ("25 cm²", "25"),
        ("答案是4", "4"),
        ("３．５", "3.5"),
        ("－４", "-4"),
        ("１，０００", "1000"),
        ("٣٫٥", "3.5"),
        ("१२३", "123"),
        ("2024-01-05", "2024 1 5"),
        ("no number", ""),
        ("-", ""),
    ],
)
def test_each_notation(text: str, expected: str) -> None:
    assert found(text) == expected.split()


def test_digits_of_every_script_are_the_same_digits() -> None:
    digits = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == "Nd"]
    assert len(digits) > 600
    assert all(plain(digit) == str(unicodedata.decimal(digit)) for digit in digits)


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=3))
def test_what_is_written_is_read(number: Decimal) -> None:
    assert numbers(f"It is {number}.") == numbers(f"It is {number:,}!") == [number]


@given(st.text(alphabet="0123456789.,-−–'eE \u202f$%x٣３=", max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert all(number.is_finite() for number in numbers(text))


@pytest.mark.parametrize("piece", ["1,", "1.000", "-", "1.234.567,", "= ", "1,00", "- ", "9"])
def test_long_texts_are_read_in_a_moment(piece: str) -> None:
    assert all(number.is_finite() for number in numbers(piece * 20_000))
