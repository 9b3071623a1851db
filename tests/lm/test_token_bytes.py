from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from lm.loading import Base
from lm.token_bytes import byte_of_character, token_bytes

TEXTS = ["Where is my parcel?", "太阳很暖和。", "naïve 🙂 résumé", "\x00\x7f\xad tab\t"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_all_tokens_are_the_bytes_of_the_text(tiny_base: Base, text: str) -> None:
    spell = token_bytes(tiny_base.tokenizer)
    ids = tiny_base.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(map(spell, ids)) == text.encode()


def test_half_a_character_is_its_byte(tiny_base: Base) -> None:
    spell = token_bytes(tiny_base.tokenizer)
    pieces = [spell(id) for id in tiny_base.tokenizer("🙂", add_special_tokens=False)["input_ids"]]
    assert len(pieces) > 1
    assert "\N{REPLACEMENT CHARACTER}" in pieces[0].decode(errors="replace")


def test_an_added_token_is_itself(tiny_base: Base) -> None:
    spell = token_bytes(tiny_base.tokenizer)
    assert spell(tiny_base.tokenizer.eos_token_id) == b"<|end|>"


def test_the_table_has_every_byte_once() -> None:
    assert sorted(byte_of_character().values()) == list(range(256))
    assert byte_of_character()["\u0120"] == 0x20, "GPT-2 writes a space as U+0120"


def test_a_sentencepiece_vocabulary() -> None:
    vocabulary = {"<unk>": 0, "\u2581the": 1, "<0xF0>": 2, "<0x9F>": 3, "a": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    spell = token_bytes(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"))
    assert [spell(id) for id in (1, 2, 3, 4)] == [b" the", b"\xf0", b"\x9f", b"a"]
