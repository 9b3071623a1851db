"""What a caller holds while the engine answers: pieces as they come, then the completion."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length", "cancelled", "deadline"]
Likeliest = list[tuple[int, float]]  # token ids and log-probabilities, the likeliest first


@dataclass
class Delta:
    """What was added since the last one; text may lag behind the tokens that spell it."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    top_logprobs: list[Likeliest] = field(default_factory=list)


@dataclass
class Completion:
    """A whole answer.

    `token_ids` holds the end token where one was drawn, and the tokens of a stop text; `text` holds neither.
    `logprobs` are the model's own, log softmax(logits); `sampling_logprobs` are log softmax(logits / temperature),
    before top-k, top-p and min-p. `top_logprobs` holds the model's likeliest tokens at each position, where the request
    asked for them; `cached_tokens` of the prompt had been read before; `waited` seconds went by before it had a slot.
    """

    token_ids: list[int]
    logprobs: list[float]
    sampling_logprobs: list[float]
    text: str
    finish_reason: FinishReason
    top_logprobs: list[Likeliest] = field(default_factory=list)
    cached_tokens: int = 0
    waited: float = field(default=0.0, compare=False)


class Stream:
    """One running request. Iterate it once, blocking or with `async for`; leaving early cancels the request.

    A consumer slower than the engine gets several tokens in one Delta. If the engine failed the request, iterating and
    `completion` raise its error.
    """

    def __init__(self, version: str, ended: Callable[[Stream], None] | None = None, interval: float = 0.0) -> None:
        """`ended` is called once it is over; a waiting consumer is woken every `interval` seconds at most."""
        self.version = version
        self._interval, self._woken = interval, 0.0
        self.cancelled = False
        self._ended = ended
        self._changed = threading.Condition()
        self._pending: list[Delta] = []
        self._completion: Completion | None = None
        self._error: BaseException | None = None
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def cancel(self) -> None:
        """Ask the engine to stop; takes effect at its next step. Does nothing to a request that has ended."""
        self.cancelled = True

    @property
    def done(self) -> bool:
        return self._completion is not None or self._error is not None

    @property
    def failed(self) -> bool:
        return self._error is not None

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream has ended."""
        if self._error is not None:
            raise self._error
        if self._completion is None:
            raise RuntimeError("The stream has not ended yet.")
        return self._completion

    def __iter__(self) -> Iterator[Delta]:
        try:
            while True:
                with self._changed:
                    while not self._pending and not self.done:
                        self._changed.wait()
                    delta = self._take()
                if delta is None:
                    break
                yield delta
        finally:
            self.cancel()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[Delta]:
        loop = asyncio.get_running_loop()
        try:
            while True:
                with self._changed:
                    ready = bool(self._pending) or self.done
                    if ready:
                        delta = self._take()
                    else:
                        future: asyncio.Future[None] = loop.create_future()
                        self._waiter = loop, future
                if not ready:
                    await future
                    continue
                if delta is None:
                    break
                yield delta
        finally:
            self.cancel()
        if self._error is not None:
            raise self._error

    def push(self, delta: Delta) -> None:
        """Engine's side: add a piece."""
        with self._changed:
            self._pending.append(delta)
            now = time.monotonic()
            if now - self._woken >= self._interval:
                self._woken = now
                self._wake()

    def finish(self, completion: Completion) -> None:
        """Engine's side: end well; does nothing to a stream that has ended."""
        with self._changed:
            if self.done:
                return
            self._completion = completion
            self._wake()
        if self._ended is not None:
            self._ended(self)

    def fail(self, error: BaseException) -> None:
        """Engine's side: end with an error; does nothing to a stream that has ended."""
        with self._changed:
            if self.done:
                return
            self._error = error
            self._wake()
        if self._ended is not None:
            self._ended(self)

    def _take(self) -> Delta | None:
        """All pending pieces as one; None when the stream has ended and nothing is left."""
        pending, self._pending = self._pending, []
        if len(pending) <= 1:
            return pending[0] if pending else None
        return Delta(
            "".join(delta.text for delta in pending),
            [token for delta in pending for token in delta.token_ids],
            [logprob for delta in pending for logprob in delta.logprobs],
            [likeliest for delta in pending for likeliest in delta.top_logprobs],
        )

    def _wake(self) -> None:
        self._changed.notify_all()
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        loop, future = waiter
        try:
            loop.call_soon_threadsafe(_resolve, future)
        except RuntimeError:  # the consumer's event loop is closed: nobody listens any more
            self.cancel()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
