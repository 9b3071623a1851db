"""One request's life in the engine: its prompt, its slot's fill, what it has drawn, and when it is over."""

from __future__ import annotations

import random
import time
from collections.abc import Set

from lm.lora import Version
from lm.prefix import Prefix
from lm.settings import Sampling
from lm.stream import Completion, Delta, FinishReason, Likeliest, Stream
from lm.writer import Decode, Writer


class Request:
    """The engine's side of a Stream. Knows nothing of slots beyond how many tokens its own one holds."""

    def __init__(
        self, prompt: list[int], sampling: Sampling, version: Version, stream: Stream, room: int, ends: Set[int],
        decode: Decode, live: bool, person: str = "", deadline: float | None = None, door: str = "",
    ) -> None:  # fmt: skip
        """`room`: tokens the slot has left for the answer; `live`: somebody reads the pieces as they come; `deadline`:
        the time.monotonic() by which it must be over; `door`: the key or address that it came by, if that is known.
        """
        self.person, self.door, self.deadline, self.live = person, door, deadline, live
        self.submitted = time.monotonic()
        self.waited = 0.0  # seconds until it had a slot
        self.prefix: Prefix | None = None  # what its slot began with
        self.cached = 0  # tokens of the prompt that came from there
        self.prompt, self.sampling, self.version, self.stream = prompt, sampling, version, stream
        self.filled = 0  # tokens of prompt and answer whose keys and values the slot holds
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.sampling_logprobs: list[float] = []
        self.top_logprobs: list[Likeliest] = []
        self._limit = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
        self._ends = frozenset() if sampling.ignore_eos else ends
        self._draws = random.Random(sampling.seed)
        self._decode = decode
        # Text that nobody reads yet is spelled once, at the end, unless a stop text must be watched for.
        self._writer = Writer(decode, sampling.stop) if live or sampling.stop else None

    def uniform(self) -> float:
        """The next random number of this request, in [0, 1)."""
        return self._draws.random()

    def accept(self, token: int, logprob: float, sampling_logprob: float, likeliest: Likeliest | None = None) -> bool:
        """Add a drawn token; True when the request is over."""
        self.token_ids.append(token)
        told = [likeliest] if likeliest is not None else []
        self.top_logprobs += told
        self.logprobs.append(logprob)
        self.sampling_logprobs.append(sampling_logprob)
        reason: FinishReason | None = None
        text, writer = "", self._writer
        if token in self._ends:
            reason = "stop"
        elif writer is not None:
            text = writer.push(token)
            if writer.stopped:
                reason = "stop"
        if reason is None and len(self.token_ids) >= self._limit:
            reason = "length"
        if reason is not None and writer is not None:
            text += writer.finish()
            if writer.stopped:  # the stop text may show only once no token can change the last characters
                reason = "stop"
        if self.live:
            self.stream.push(Delta(text, [token], [logprob], told))
        if reason is None:
            return False
        self.close(reason)
        return True

    def close(self, reason: FinishReason) -> None:
        """End the stream with what there is; with an error where that cannot be spelled."""
        try:
            text = self._spelled()
        except Exception as error:  # this request's alone
            self.stream.fail(error)
            return
        self.stream.finish(
            Completion(
                self.token_ids,
                self.logprobs,
                self.sampling_logprobs,
                text,
                reason,
                top_logprobs=self.top_logprobs,
                cached_tokens=self.cached,
                waited=self.waited,
            )
        )

    def _spelled(self) -> str:
        """The text of what was drawn, without the end token."""
        if self._writer is not None:
            self._writer.finish()
            return self._writer.text
        ended = self.token_ids[-1:] and self.token_ids[-1] in self._ends
        return self._decode(self.token_ids[:-1] if ended else self.token_ids)
