"""A request that a server elsewhere is answering: its stream, and what has come of the answer so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from lm.backend import Prompt
from lm.settings import Sampling
from lm.stops import Stops
from lm.stream import Completion, Delta, FinishReason, Stream


class RemoteStream(Stream):
    """A Stream whose cancellation is heard at once, where an engine would see it at its next step."""

    def __init__(self, version: str, stop: Callable[[], None]) -> None:
        super().__init__(version)
        self._stop = stop

    def cancel(self) -> None:
        """End the request; does nothing to one that has ended."""
        super().cancel()
        if not self.done:
            self._stop()


@dataclass(frozen=True)
class Usage:
    """Tokens of a prompt, as the server counted them, and those of them that it did not read anew."""

    prompt: int
    cached: int


@dataclass(frozen=True)
class Piece:
    """One event's worth of an answer; `reason` is the server's own word for why it ends here."""

    delta: Delta
    reason: str | None = None
    usage: Usage | None = None


@dataclass(eq=False)
class Asked:
    """The backend's side of a Stream."""

    prompt: Prompt
    sampling: Sampling
    stream: Stream
    path: str
    body: dict[str, Any]
    deadline: float | None  # seconds from when it was asked
    stops: Stops
    since: float = field(default_factory=time.monotonic)
    sent: bool = False  # to the server, not waiting for a free connection
    began: bool = False
    usage: Usage | None = None
    token_ids: list[int] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _logprobs: list[float] = field(default_factory=list)
    _tops: list[list[tuple[int, float]]] = field(default_factory=list)

    @property
    def due(self) -> float | None:
        """When its time is up, on the clock of `time.monotonic`."""
        return None if self.deadline is None else self.since + self.deadline

    def take(self, delta: Delta) -> None:
        """Add what came, and pass it on up to the first stop text."""
        self.began = True
        self.token_ids += delta.token_ids
        self._logprobs += delta.logprobs
        self._tops += delta.top_logprobs
        delta.text = self.stops.push(delta.text)
        self._pass(delta)

    def completion(self, reason: FinishReason, tokenizer: PreTrainedTokenizerBase) -> Completion:
        """The whole answer.

        A server that tells no token ids leaves the text to be encoded, which may differ from the tokens that were
        drawn; log-probabilities are empty wherever they are not known for every token, and `sampling_logprobs` always.
        """
        self._pass(Delta(self.stops.finish(), [], []))
        text, ids = "".join(self._texts), self.token_ids
        if not ids:
            return Completion(tokenizer.encode(text, add_special_tokens=False), [], [], text, reason)
        known = len(self._logprobs) == len(ids)
        tops = self._tops if len(self._tops) == len(ids) else []
        return Completion(ids, self._logprobs if known else [], [], text, reason, tops)

    def _pass(self, delta: Delta) -> None:
        if delta.text or delta.token_ids:
            self._texts.append(delta.text)
            self.stream.push(delta)
