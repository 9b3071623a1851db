"""An answer's pieces as they reach the page and the API: what the model thinks and what it says, apart."""

from __future__ import annotations

from dataclasses import dataclass, field

from lm.stream import Completion, Delta
from lm.thinking import Marks, Thinking, split


@dataclass(frozen=True)
class Piece:
    """What was added since the last one. Texts may lag behind the tokens that spell them."""

    text: str
    thinking: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[list[tuple[int, float]]] = field(default_factory=list)


class Pieces:
    """One answer's text so far: `text` is what it says, `thinking` what the model thought before.

    Args:
        marks: around a thinking model's thoughts; None for a model that does not think aloud.
    """

    def __init__(self, marks: Marks | None) -> None:
        self.text, self.thinking = "", ""
        self._marks, self._splitter = marks, Thinking(marks)

    def push(self, delta: Delta) -> Piece:
        """The piece of a delta."""
        thinking, text = self._splitter.push(delta.text)
        self.thinking += thinking
        self.text += text
        return Piece(text, thinking, delta.token_ids, delta.logprobs, delta.top_logprobs)

    def finish(self, completion: Completion) -> Piece:
        """What the whole answer holds beyond the pieces: an answer cut short may end in text that was held back."""
        thinking, text = split(self._marks, completion.text)
        rest = Piece(text[len(self.text) :], thinking[len(self.thinking) :])
        self.text, self.thinking = text, thinking
        return rest
