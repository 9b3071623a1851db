"""Answers made by a server elsewhere that speaks OpenAI's API: llama.cpp's, `transformers serve`, and their like.

Adapters cannot be loaded over this API, so that version 0 answers; `lm.remote.vllm` loads them. The server's own chat
template and tokenizer are at work.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx

from lm.backend import Prompt
from lm.engine import BASE
from lm.figures import Figures
from lm.line import Late, QueueFull
from lm.loading import BaseText
from lm.remote.asked import Asked, Piece, RemoteStream, Usage
from lm.remote.connection import Connection
from lm.remote.events import Malformed, read_events
from lm.remote.refusals import refusal
from lm.settings import BackendSettings, Sampling
from lm.stops import Stops
from lm.stream import Delta, FinishReason, Stream
from problems import Problem

TRAILER = 1.0  # seconds that are waited for the counts after an answer's last word
REASONS: dict[str, FinishReason] = {"length": "length"}  # every other reason is a stop
BROKEN = {"abort", "error"}


class Remote(Connection):
    """Any OpenAI-compatible server."""

    def __init__(self, base: BaseText, settings: BackendSettings) -> None:
        """Connects to nothing yet; `start` does."""
        super().__init__(settings)
        self._base, self._context, self._model = base, base.context, settings.model
        self._under_way: dict[Asked, asyncio.Task[FinishReason] | None] = {}
        self._free = asyncio.Semaphore(settings.connections)
        self._ended: Counter[str] = Counter()
        self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0

    @property
    def base(self) -> BaseText:
        return self._base

    @property
    def context(self) -> int:
        """Tokens of prompt and answer: the model's, or the server's where it says that it takes fewer."""
        return self._context

    # Life

    def start(self) -> None:
        """Find the server and the name that it has for the base.

        Raises:
            Problem: nobody answers there, the key is refused, or the server does not say which model is the base.
        """
        if not self._open():
            return
        try:
            self._wait(self._look())
        except BaseException:
            self.close()
            raise

    async def _finish(self) -> None:
        answering = [task for task in self._under_way.values() if task is not None]
        if answering:
            await asyncio.wait(answering)

    async def _look(self) -> None:
        """Make sure that the server is there, and learn what it says of the base."""
        await self._probe()
        cards = [card for card in await self._cards() if not card.get("parent")]  # an adapter's card names its base
        if not self._model:
            names = [card["id"] for card in cards if isinstance(card.get("id"), str)]
            if len(names) != 1:
                raise Problem(
                    f"The server at {self._url} lists {len(names)} models: {', '.join(names[:8]) or 'none'}.",
                    hint="Set backend.model to the one that is the base.",
                )
            self._model = names[0]
        for card in cards:
            longest = card.get("max_model_len")  # vLLM's word for its context
            if card.get("id") == self._model and isinstance(longest, int):
                self._context = min(self._context, longest)

    # Versions

    def load(self, version: str, folder: Path) -> None:
        """Raises Problem: OpenAI's API knows no adapters."""
        raise Problem(
            "An OpenAI-compatible server cannot load an adapter; version 0 answers.",
            hint="Set backend.kind to vllm or to engine.",
        )

    def remove(self, version: str) -> None:
        """Raises Problem: there is none to remove."""
        raise self._unknown(version)

    def versions(self) -> list[str]:
        """Names that requests may ask for, "0" first."""
        return [BASE]

    def _name(self, version: str) -> str:
        """The server's name for a version; the gate is held."""
        if version != BASE:
            raise self._unknown(version)
        return self._model

    def _unknown(self, version: str) -> Problem:
        return Problem(f"No version {version} is loaded.", hint=f"There are: {', '.join(self.versions())}.")

    # Requests

    def ask(
        self,
        prompt: Prompt,
        sampling: Sampling,
        version: str = BASE,
        person: str = "",
        deadline: float | None = None,
        door: str = "",
    ) -> Stream:
        """Send a request; `person` and `door` are not told to the server.

        Raises:
            Problem: unknown version, or a sampling parameter that OpenAI's API does not have. Later, from the stream:
                `Unavailable`, `lm.line.QueueFull`, `lm.line.Late`, or the server's own refusal.
        """
        with self._gate:
            if self._thread is None or self._closing:
                raise self._closed()
            path, body = self._request(prompt, sampling, self._name(version))
            stream = RemoteStream(version, lambda: self._cancel(asked))
            asked = Asked(prompt, sampling, stream, path, body, deadline, self._stops(sampling))
            self._under_way[asked] = None
            self._loop.call_soon_threadsafe(self._begin, asked)
        return stream

    def _cancel(self, asked: Asked) -> None:
        with suppress(RuntimeError):  # the loop is closed, so that the request has ended
            self._loop.call_soon_threadsafe(self._stop, asked)

    def figures(self) -> Figures:
        """What is known here; whatever the server does for others is not."""
        with self._gate:
            under_way, versions = list(self._under_way), self.versions()
        running = sum(asked.sent for asked in under_way)
        return Figures(
            slots=self.settings.connections,
            running=running,
            waiting=len(under_way) - running,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
            ended=dict(self._ended),
            versions=versions,
            cache_bytes=0,
        )

    def _request(self, prompt: Prompt, sampling: Sampling, model: str) -> tuple[str, dict[str, Any]]:
        """Path and body of a request. Problem: the API has no word for what is asked."""
        plain = Sampling()
        for name in ("top_k", "min_p", "repetition_penalty", "ignore_eos", "top_logprobs"):
            if getattr(sampling, name) != getattr(plain, name):
                raise Problem(
                    f"The server that makes the answers takes no {name}.",
                    hint=f"Leave {name} out; backend.kind vllm and engine take it.",
                )
        return "/v1/chat/completions", self._common(sampling, model) | {"messages": prompt.messages}

    def _common(self, sampling: Sampling, model: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.max_tokens is not None:
            body["max_tokens"] = sampling.max_tokens
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        return body

    def _stops(self, sampling: Sampling) -> Stops:
        """Some servers leave a stop text in the answer."""
        return Stops(sampling.stop)

    def _piece(self, event: dict[str, Any]) -> Piece:
        """What an event adds. Raises KeyError, TypeError, ValueError or AttributeError for one of another shape."""
        choices = event.get("choices") or []
        if not choices:
            return Piece(Delta("", [], []), usage=usage_of(event))
        text = (choices[0].get("delta") or {}).get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        return Piece(Delta(text, [], []), choices[0].get("finish_reason"), usage_of(event))

    # In the loop

    def _begin(self, asked: Asked) -> None:
        task = self._loop.create_task(self._answer(asked))
        self._under_way[asked] = task
        task.add_done_callback(lambda task: self._end(asked, task))
        if asked.stream.cancelled:
            task.cancel()

    def _stop(self, asked: Asked) -> None:
        task = self._under_way.get(asked)
        if task is not None:
            task.cancel()

    def _end(self, asked: Asked, task: asyncio.Task[FinishReason]) -> None:
        """Close the stream of a request that is over, however it ended."""
        reason: FinishReason = "cancelled"
        error: BaseException | None = None
        if not task.cancelled():
            error = task.exception()
            reason = reason if error else task.result()
        if error is None:
            try:
                completion = asked.completion(reason, self._base.tokenizer)
            except Exception as failure:  # handed to whoever waits for the answer
                error = failure
            else:
                self._generated_tokens += len(completion.token_ids)
        usage = asked.usage or Usage(len(asked.prompt.ids) if asked.began else 0, 0)
        self._prompt_tokens += usage.prompt
        self._cached_tokens += usage.cached
        self._ended["failed" if error else reason] += 1
        with self._gate:
            del self._under_way[asked]
        self._over(asked)
        if error is None:
            asked.stream.finish(completion)
        else:
            asked.stream.fail(error)

    def _over(self, asked: Asked) -> None:
        """A request is no longer under way."""

    async def _answer(self, asked: Asked) -> FinishReason:
        try:
            async with asyncio.timeout_at(asked.due) as limit:
                try:
                    async with asyncio.timeout(self.settings.timeout):
                        await self._free.acquire()
                except TimeoutError:
                    raise QueueFull(
                        f"{self.settings.connections} requests are with the server that makes the answers already.",
                        wait=math.ceil(self.settings.timeout),
                    ) from None
                try:
                    asked.sent = True
                    return await self._send(asked)
                finally:
                    self._free.release()
        except TimeoutError:
            if not limit.expired():
                raise
            if asked.began:
                return "deadline"
            raise Late(f"No answer began in {asked.deadline:g} s.", hint="Try again later.") from None

    async def _send(self, asked: Asked) -> FinishReason:
        """Have the server answer, and take in what it sends."""
        word: str | None = None
        try:
            async with (
                asyncio.timeout(self.settings.timeout) as silence,
                self._http.stream("POST", asked.path, json=asked.body) as response,
            ):
                if response.status_code != 200:
                    await response.aread()
                    raise refusal(response, self.settings.key)
                async with aclosing(read_events(response.aiter_bytes())) as events:
                    async for event in events:
                        if event.get("error"):
                            raise refusal(response, self.settings.key, event)
                        piece = self._piece(event)
                        asked.usage = piece.usage or asked.usage
                        if word is None:
                            asked.take(piece.delta)
                            word = "stop" if asked.stops.stopped else piece.reason
                        if asked.stops.stopped:
                            break
                        silence.reschedule(self._loop.time() + (self.settings.timeout if word is None else TRAILER))
        except (httpx.HTTPError, TimeoutError, Malformed, KeyError, TypeError, ValueError, AttributeError) as error:
            if word is None:
                raise self._lost(error) from error
        if word is None or word in BROKEN:
            raise self._lost(None)
        return REASONS.get(word, "stop")


def usage_of(event: dict[str, Any]) -> Usage | None:
    """The counts that an event carries, if it does."""
    usage = event.get("usage")
    if not usage:
        return None
    return Usage(int(usage["prompt_tokens"]), int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0))
