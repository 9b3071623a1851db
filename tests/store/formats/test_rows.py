from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from store.formats import alpaca, sharegpt, trl_preference, trl_unpaired
from store.formats.known import FORMATS
from store.formats.rows import BadRow, LeftOut, Parsed, ParsedPair, ParsedThumb

USER = {"role": "user", "content": "Which colour is the sky?"}
GOOD = {"role": "assistant", "content": "Blue."}
BAD = {"role": "assistant", "content": "Green."}
SYSTEM = {"role": "system", "content": "Be short."}
SKY = ParsedPair([USER], "Blue.", "Green.")
HUMAN = {"from": "human", "value": USER["content"]}


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


READ: list[tuple[ModuleType, dict[str, Any], Parsed]] = [
    (trl_preference, {"prompt": USER["content"], "chosen": "Blue.", "rejected": "Green."}, SKY),
    (trl_preference, {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, SKY),
    (trl_preference, {"chosen": [USER, GOOD], "rejected": [USER, BAD]}, SKY),
    (trl_preference, {"prompt": None, "chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 3}, SKY),
    (trl_preference, {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, SKY),
    (trl_preference, {"prompt": USER["content"], "chosen": [GOOD], "rejected": [BAD]}, SKY),
    (
        trl_preference,
        {"chosen": "Which colour is the sky? Blue.", "rejected": "Which colour is the sky? Green."},
        SKY,
    ),
    (
        trl_preference,
        {"chosen": "It is blue", "rejected": "It is black"},
        ParsedPair([{"role": "user", "content": "It is"}], "blue", "black"),
    ),
    (
        trl_preference,
        {"prompt": [SYSTEM, USER], "chosen": [GOOD, USER, GOOD], "rejected": [GOOD, USER, BAD]},
        ParsedPair([SYSTEM, USER, GOOD, USER], "Blue.", "Green."),
    ),
    (
        trl_unpaired,
        {"prompt": USER["content"], "completion": "Blue.", "label": True},
        ParsedThumb([USER], "Blue.", True),
    ),
    (trl_unpaired, {"prompt": [USER], "completion": [BAD], "label": False}, ParsedThumb([USER], "Green.", False)),
    (sharegpt, {"conversations": [HUMAN], "chosen": gpt("Blue."), "rejected": gpt("Green.")}, SKY),
    (
        sharegpt,
        {
            "conversations": [HUMAN, gpt("Blue."), HUMAN],
            "chosen": gpt("Blue."),
            "rejected": gpt("Green."),
            "system": "Be short.",
        },
        ParsedPair([SYSTEM, USER, GOOD, USER], "Blue.", "Green."),
    ),
    (alpaca, {"instruction": USER["content"], "input": "", "chosen": "Blue.", "rejected": "Green."}, SKY),
    (
        alpaca,
        {
            "instruction": "Shorten.",
            "input": "Long.",
            "chosen": "L.",
            "rejected": "Long!",
            "system": "Be short.",
            "history": [["Hi", "Yes?"]],
        },
        ParsedPair(
            [
                SYSTEM,
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "Shorten.\nLong."},
            ],
            "L.",
            "Long!",
        ),
    ),
]

REFUSED: list[tuple[ModuleType, dict[str, Any], str]] = [
    (trl_preference, {"prompt": "Q", "chosen": "a"}, "rejected is missing"),
    (trl_preference, {"prompt": "Q", "chosen": "a", "rejected": 3}, "rejected is a number, not text"),
    (trl_preference, {"prompt": 5, "chosen": "a", "rejected": "b"}, "prompt is a number"),
    (trl_preference, {"chosen": "a", "rejected": "b"}, "prompt is missing"),
    (trl_preference, {"prompt": "Q", "chosen": "half \ud800", "rejected": "b"}, "surrogate"),
    (trl_preference, {"chosen": [USER, GOOD], "rejected": "b"}, "rejected is text, not a list"),
    (
        trl_preference,
        {"chosen": [USER, {"role": "parrot", "content": "a"}], "rejected": []},
        "chosen\\[1\\]: role 'parrot'",
    ),
    (trl_preference, {"chosen": [USER, {"role": "assistant"}], "rejected": []}, "chosen\\[1\\]: content is missing"),
    (trl_preference, {"chosen": [USER, "a"], "rejected": []}, "chosen\\[1\\] is text, not a turn"),
    (trl_unpaired, {"prompt": "Q", "completion": "a", "label": 1}, "neither true nor false"),
    (trl_unpaired, {"prompt": "Q", "completion": "a"}, "label is missing"),
    (sharegpt, {"conversations": [HUMAN], "chosen": gpt("a")}, "rejected is missing"),
    (sharegpt, {"conversations": [HUMAN], "chosen": "a", "rejected": gpt("b")}, "chosen is text, not a turn"),
    (
        sharegpt,
        {"conversations": [{"from": "parrot", "value": "x"}], "chosen": gpt("a"), "rejected": gpt("b")},
        "none of human",
    ),
    (alpaca, {"instruction": "Q", "chosen": "a"}, "rejected is missing"),
    (alpaca, {"instruction": "Q", "chosen": "a", "rejected": "b", "history": ["Hi"]}, "history\\[0\\]"),
]


LEFT_OUT: list[tuple[ModuleType, dict[str, Any], str]] = [
    (trl_preference, {"prompt": "Q", "chosen": "a", "rejected": None}, "rejected is null, not text"),
    (trl_preference, {"prompt": "Q", "chosen": "a", "rejected": "a"}, "the same"),
    (trl_preference, {"prompt": "Q", "chosen": "a", "rejected": " "}, "rejected is empty"),
    (trl_preference, {"chosen": [USER, GOOD], "rejected": [SYSTEM, USER, BAD]}, "differ before"),
    (trl_preference, {"chosen": [USER], "rejected": [USER]}, "does not end with a turn of the assistant"),
    (trl_preference, {"chosen": [], "rejected": []}, "does not end"),
    (trl_preference, {"chosen": [GOOD], "rejected": [BAD]}, "no turn of the user"),
    (trl_unpaired, {"prompt": "Q", "completion": "", "label": True}, "completion is empty"),
    (sharegpt, {"conversations": [HUMAN], "chosen": HUMAN, "rejected": HUMAN}, "chosen does not end with"),
]


@pytest.mark.parametrize(("format", "row", "parsed"), READ)
def test_a_row_is_told_and_read(format: ModuleType, row: dict[str, Any], parsed: Parsed) -> None:
    assert [each for each in FORMATS if each.matches(row)] == [format]
    assert format.parse(row) == [parsed]


@pytest.mark.parametrize(("format", "row", "why"), REFUSED)
def test_a_bad_row_says_why(format: ModuleType, row: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRow, match=why):
        format.parse(row)


@pytest.mark.parametrize(("format", "row", "why"), LEFT_OUT)
def test_a_row_with_nothing_to_learn_says_why(format: ModuleType, row: dict[str, Any], why: str) -> None:
    with pytest.raises(LeftOut, match=why):
        format.parse(row)
