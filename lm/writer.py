"""From tokens to text as they come: never half a character, never a part of a stop text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from lm.stops import Stops
from lm.thinking import special_marks

Decode = Callable[[list[int]], str]

BROKEN = "\N{REPLACEMENT CHARACTER}"  # what decoders write for bytes that are no character, or not one yet
LONGEST = 3  # a character of UTF-8 has at most four bytes, so at most three wait for a last one
WINDOW, KEPT = 24, 8  # tokens decoded again at each step, at most; and how many stay as context when it is cut


def decoder(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """Token ids to text without special tokens, those around a model's thinking excepted (see `lm.thinking`)."""
    plain, kept = _plain(tokenizer), special_marks(tokenizer)
    if not kept:
        return plain

    def marked(ids: list[int]) -> str:
        text, begin = "", 0
        for place, token in enumerate(ids):
            if token in kept:
                text, begin = text + plain(ids[begin:place]) + kept[token], place + 1
        return text + plain(ids[begin:])

    return marked


def _plain(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """Straight to the Rust tokenizer where there is one, for speed."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return lambda ids: str(backend.decode(ids, skip_special_tokens=True))
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Writer:
    """The text of one answer. `push` each token, then `finish`; what they return, joined, is `text`."""

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self.text = ""
        self._decode = decode
        self._stops = Stops(stop)
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text already passed on
        self._unshown = 0  # tokens since the window's text last ended in a whole character

    @property
    def stopped(self) -> bool:
        """Whether a stop text was met; `text` ends before it."""
        return self._stops.stopped

    def push(self, token: int) -> str:
        """Add a token; returns the text that is certain now, often empty."""
        self._window.append(token)
        self._unshown += 1
        decoded = self._decode(self._window)
        if decoded.endswith(BROKEN):
            # Wait for the rest of the character; bytes that never become one must not hold back what came before.
            if self._unshown <= LONGEST:
                return ""
            decoded = _without_tail(decoded)
        else:
            self._unshown = 0
        fresh = decoded[self._shown :]
        self._shown = max(self._shown, len(decoded))
        if len(self._window) > WINDOW:
            self._window = self._window[-KEPT:]
            context = self._decode(self._window)
            self._shown = len(_without_tail(context) if self._unshown else context)
        return self._release(fresh)

    def finish(self) -> str:
        """The answer is over: returns the text that was still held back, and nothing when called again."""
        if self.stopped:
            return ""
        decoded = self._decode(self._window)
        tail = self._release(decoded[self._shown :])
        self._shown = len(decoded)
        held = self._stops.finish()
        self.text += held
        return tail + held

    def _release(self, fresh: str) -> str:
        certain = self._stops.push(fresh)
        self.text += certain
        return certain


def _without_tail(text: str) -> str:
    """Without the broken characters at the end that a further token could still change."""
    broken = len(text) - len(text.rstrip(BROKEN))
    return text[: len(text) - min(broken, LONGEST)]
