"""Forms of an answer, and how far one misses them."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.formats import missed
from reward.rule_settings import Format

THIRD = pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"a": [1, null]}', 0),
        (" [] \n", 0),
        ('```json\n{"a": 1}\n```', 0.5),
        ('Here it is: {"a": 1}', 1),
        ('"a text"', 1),
        ("42", 1),
        ('{"a": NaN}', 1),
        ('{"a": 1', 1),
        ("", 1),
        ("[" * 100_000, 1),
    ],
)
def test_json(answer: str, expected: float) -> None:
    assert missed("json", answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("- one\n- two", 0),
        ("First:\n 1. one\n 2) two\n", 0),
        ("1、一\n2、二", 0),
        ("•one\n•two", 0),
        ("* one", 0.5),
        ("one - two - three", 1),
        ("-5\n-6", 1),
        ("-\n-", 1),
        ("2026. was\nwarm", 1),
    ],
)
def test_a_list(answer: str, expected: float) -> None:
    assert missed("list", answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Plain text, 2 * 3 * 4 = 24, a_b_c, #1, [1] and (2).", 0),
        ("1. Numbers are plain.\n2. So are these.", 0),
        ("**bold**", THIRD),
        ("Take *this* one.", THIRD),
        ("See [there](https://example.com).", THIRD),
        ("Run `ls`.", THIRD),
        ("# Head\n- one\n- two\n- three", 1),
        ("> quoted", THIRD),
        ("| a | b |", THIRD),
    ],
)
def test_no_markdown(answer: str, expected: float) -> None:
    assert missed("no_markdown", answer) == expected


@pytest.mark.parametrize(("answer", "expected"), [("one", 0), ("one\n\n", 0), ("a\n\nb", THIRD), ("a\nb\nc\nd\ne", 1)])
def test_a_single_line(answer: str, expected: float) -> None:
    assert missed("single_line", answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Here:\n```python\nx = 1\n```", 0), ("~~~\nx\n~~~\n", 0), ("```\nx = 1", 0.5), ("`x`", 1), ("a ``` b", 1)],
)
def test_a_code_block(answer: str, expected: float) -> None:
    assert missed("code_block", answer) == expected


@settings(deadline=None)
@given(st.text(alphabet="ab 1-*#`|[](){}\n\t~.\"'_:,太") | st.text(), st.sampled_from(get_args(Format)))
def test_any_text_misses_a_form_by_between_nothing_and_all(text: str, form: Format) -> None:
    assert 0 <= missed(form, text) <= 1


@pytest.mark.parametrize("piece", ["[", "[a](", "*a ", "`", "|", "\n```\n", "- ", " \n", "*", "(*a"])
def test_no_text_takes_longer_than_its_length_allows(piece: str) -> None:
    begun = time.process_time()
    for form in get_args(Format):
        missed(form, piece * (20_000 // len(piece)))
    assert time.process_time() - begun < 2  # a square of the length would take several
