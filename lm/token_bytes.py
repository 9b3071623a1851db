"""The bytes that each token stands for, which may be half a character: for listings of tokens, not for text.

A byte-level vocabulary (GPT-2's, and most since) writes each byte as one printable character; a SentencePiece one
writes a space as U+2581, and bytes that are in no piece as `<0xE4>`. Added tokens stand in both as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, lru_cache

from transformers import PreTrainedTokenizerBase

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], bytes]:
    """A function from a token's id to its bytes.

    A tokenizer without a Rust one behind it, or with another kind of vocabulary, gives the UTF-8 of the decoded token.
    """
    added = {int(id): str(token).encode() for id, token in tokenizer.added_tokens_decoder.items()}
    kinds = _decoder_kinds(tokenizer)
    of_character = byte_of_character()

    @cache
    def find(id: int) -> bytes:
        if id in added:
            return added[id]
        if "ByteLevel" in kinds:
            piece = str(tokenizer.convert_ids_to_tokens(id))
            return bytes(of_character[character] for character in piece)
        if "ByteFallback" in kinds:
            piece = str(tokenizer.convert_ids_to_tokens(id))
            byte = BYTE.fullmatch(piece)
            return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode()
        return str(tokenizer.decode([id])).encode()

    return find


@lru_cache(maxsize=1)
def byte_of_character() -> dict[str, int]:
    """GPT-2's table: printable Latin-1 stands for itself, every other byte for the next character from U+0100 on.

    Source: Radford et al. 2019, the byte-level BPE of GPT-2.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    rest = [byte for byte in range(256) if byte not in printable]
    return table | {chr(0x100 + index): byte for index, byte in enumerate(rest)}


def _decoder_kinds(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The kinds of decoder of which the Rust tokenizer's is made."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str())["decoder"] if backend is not None else None
    if decoder is None:
        return set()
    return {str(each["type"]) for each in (decoder, *decoder.get("decoders", ()))}
