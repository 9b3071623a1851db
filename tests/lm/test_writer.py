"""Text from tokens: whole characters only, stop texts across tokens."""

from __future__ import annotations

import random

import pytest

from lm.loading import Base
from lm.writer import BROKEN, Decode, Writer, decoder


@pytest.fixture
def decode(tiny_base: Base) -> Decode:
    return decoder(tiny_base.tokenizer)


def pieces(writer: Writer, tokens: list[int]) -> list[str]:
    parts = []
    for token in tokens:
        parts.append(writer.push(token))
        if writer.stopped:
            break
    return [*parts, writer.finish()]


def encode(base: Base, text: str) -> list[int]:
    return list(base.tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize(
    "text", ["Where is my parcel?", "太阳很暖和。你好！", "tea 🫖 for two 👩‍👩‍👧", "\n\n  x  ", "naïve café"]
)
def test_whole_characters_only(tiny_base: Base, decode: Decode, text: str) -> None:
    parts = pieces(Writer(decode), encode(tiny_base, text))
    assert "".join(parts) == text
    assert not any(BROKEN in part for part in parts)


def test_long_text_goes_past_the_window(tiny_base: Base, decode: Decode) -> None:
    text = "The sun 太阳 is warm 🌞. " * 20
    assert "".join(pieces(Writer(decode), encode(tiny_base, text))) == text


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_end_as_the_tokenizer_spells_them(tiny_base: Base, decode: Decode, seed: int) -> None:
    draws = random.Random(seed)
    tokens = [draws.randrange(len(tiny_base.tokenizer)) for _ in range(200)]
    writer = Writer(decode)
    parts = pieces(writer, tokens)
    assert "".join(parts) == writer.text == decode(tokens)
    assert sum(map(bool, parts)) > 50, "text comes as it is spelled, not at the end"


def test_special_tokens_are_no_text(tiny_base: Base, decode: Decode) -> None:
    end = tiny_base.tokenizer.eos_token_id
    assert "".join(pieces(Writer(decode), [*encode(tiny_base, "yes"), end])) == "yes"


def test_stop_across_tokens(tiny_base: Base, decode: Decode) -> None:
    tokens = encode(tiny_base, "three sides. END of it")
    assert len(encode(tiny_base, "END")) > 1, "the stop text straddles tokens"
    writer = Writer(decode, ["END"])
    seen = ""
    for token in tokens:
        seen += writer.push(token)
        assert "E" not in seen
        if writer.stopped:
            break
    assert writer.stopped
    assert seen == writer.text == "three sides. "


def test_the_beginning_of_a_stop_is_let_go_when_it_is_none(tiny_base: Base, decode: Decode) -> None:
    writer = Writer(decode, ["ENDING", "sides!"])
    assert "".join(pieces(writer, encode(tiny_base, "three sides. END"))) == "three sides. END"
    assert not writer.stopped


def test_the_earliest_of_several_stops(tiny_base: Base, decode: Decode) -> None:
    writer = Writer(decode, ["ree", "y. T"])
    pieces(writer, encode(tiny_base, "Monday. Three"))
    assert writer.text == "Monda"


def test_a_stop_that_overlaps_itself(tiny_base: Base, decode: Decode) -> None:
    writer = Writer(decode, ["aab"])
    pieces(writer, encode(tiny_base, "xaaab!"))
    assert writer.text == "xa"


def test_stop_of_several_bytes(tiny_base: Base, decode: Decode) -> None:
    writer = Writer(decode, ["暖"])
    pieces(writer, encode(tiny_base, "太阳很暖和。"))
    assert writer.text == "太阳很"
