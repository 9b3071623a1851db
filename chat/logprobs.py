"""The listing of an answer's tokens with their log-probabilities, in OpenAI's shape.

Special tokens (an end token, a mark of a turn) are not listed, since the text does not show them: OpenAI does the same,
vLLM lists its end token. A stop text that was met is listed, though the text ends before it. Where a token is a part of
a character, `token` shows U+FFFD and `bytes` holds what it really is, so that the bytes of all tokens joined are the
bytes of the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase

from chat.pieces import Piece
from lm.stream import Completion
from lm.token_bytes import token_bytes

LEAST = -9999.0  # what OpenAI and vLLM write for a token of no probability: JSON knows no infinity

Lister = Callable[[Piece | Completion], dict[str, Any] | None]


def lister(tokenizer: PreTrainedTokenizerBase) -> Lister:
    """A function that lists the tokens of a piece, or of a whole answer, as `logprobs` of a choice."""
    spell = token_bytes(tokenizer)
    special = frozenset(tokenizer.all_special_ids)

    def entry(token: int, logprob: float) -> dict[str, Any]:
        raw = spell(token)
        return {"token": raw.decode(errors="replace"), "logprob": max(logprob, LEAST), "bytes": list(raw)}

    def listing(said: Piece | Completion) -> dict[str, Any] | None:
        if len(said.logprobs) != len(said.token_ids):  # a backend that does not tell
            return None
        content = [
            entry(token, said.logprobs[place])
            | {"top_logprobs": [entry(*top) for top in said.top_logprobs[place]] if said.top_logprobs else []}
            for place, token in enumerate(said.token_ids)
            if token not in special
        ]
        return {"content": content, "refusal": None}

    return listing
