"""How far an answer misses a form."""

from __future__ import annotations

from typing import Any

import pytest

from reward.formats import missed


@pytest.mark.parametrize(
    ("form", "answer", "expected"),
    [
        ("json", '{"a": [1, null]}', 0),
        ("json", "[1, 2]", 0),
        ("json", '```json\n{"a": 1}\n```', 0.5),
        ("json", "5", 1),
        ("json", '{"a": NaN}', 1),
        ("json", "[" * 100_000, 1),
        ("list", "- one\n- two", 0),
        ("list", "1. one\n2) two\n3. three", 0),
        ("list", "- one", 0.5),
        ("list", "one, two", 1),
        ("list", "-5 degrees\n-6 degrees", 1),
        ("no_markdown", "Plain words, 2 * 3 * 4.", 0),
        ("no_markdown", "# Head\n- **one**\n`two`", 1),
        ("no_markdown", "One **loud** word", 1 / 3),
        ("single_line", "one\n\n", 0),
        ("single_line", "one\ntwo", 1 / 3),
        ("single_line", "1\n2\n3\n4\n5", 1),
        ("code_block", "So:\n```\nx\n```", 0),
        ("code_block", "So:\n```\nx", 0.5),
        ("code_block", "x = 1", 1),
    ],
)
def test_forms(form: Any, answer: str, expected: float) -> None:
    assert missed(form, answer) == pytest.approx(expected)


def test_an_unknown_form_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no such form"):
        missed("poem", "")  # type: ignore[arg-type]
