"""Chat template and what is left out of a prompt that is too long."""

from __future__ import annotations

import pytest

from lm.loading import Base
from lm.prompts import encode_chat, fit_chat
from problems import Problem


def said(base: Base, ids: list[int]) -> str:
    return str(base.tokenizer.decode(ids))


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_encode_ends_where_the_answer_begins(tiny_base: Base) -> None:
    ids = encode_chat(tiny_base, turns("Where is my parcel?"))
    assert said(tiny_base, ids) == "<|user|>Where is my parcel?<|end|><|assistant|>"


def test_no_message_is_refused(tiny_base: Base) -> None:
    with pytest.raises(Problem, match="no message"):
        encode_chat(tiny_base, [])


def test_fit_changes_nothing_that_fits(tiny_base: Base) -> None:
    messages = turns("one", "two", "three")
    whole = encode_chat(tiny_base, messages)
    assert fit_chat(tiny_base, messages, len(whole)) == whole


def test_fit_drops_the_oldest_turns_and_keeps_the_system_message(tiny_base: Base) -> None:
    messages = [{"role": "system", "content": "Be kind."}, *turns("first question", "first answer", "last question")]
    whole = encode_chat(tiny_base, messages)
    fitted = fit_chat(tiny_base, messages, len(whole) - 1)
    assert said(tiny_base, fitted) == "<|system|>Be kind.<|end|><|user|>last question<|end|><|assistant|>"


@pytest.mark.parametrize("limit", range(9, 60, 7))
def test_fit_cuts_the_last_turn_from_its_left(tiny_base: Base, limit: int) -> None:
    question = "太阳很暖和。" * 5 + " and where is my parcel now?"
    fitted = fit_chat(tiny_base, turns("old", "older", question), limit)
    text = said(tiny_base, fitted)
    assert len(fitted) <= limit
    kept = text.removeprefix("<|user|>").removesuffix("<|end|><|assistant|>")
    assert question.endswith(kept)
    assert kept, "something of the question is kept"


def test_fit_refuses_when_not_even_an_empty_turn_fits(tiny_base: Base) -> None:
    with pytest.raises(Problem, match="room for 2"):
        fit_chat(tiny_base, turns("hello"), 2)
