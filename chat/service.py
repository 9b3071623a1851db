"""An answer under way: from a turn to the engine's stream to a generation in the store.

Every answer is recorded exactly as it was made, also when the reader leaves halfway: a task of its own follows the
stream to its end and writes the generation and the message, whether anybody still listens or not.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from chat import logs
from chat.metrics import Metrics
from chat.pace import Pace
from chat.pieces import Piece, Pieces
from chat.watcher import Loaded, Watcher
from lm.backend import Prompt, Unavailable
from lm.line import Late
from lm.loading import BaseText
from lm.prompts import encode_chat
from lm.settings import Sampling
from lm.stream import Completion, Stream
from lm.thinking import thinking_marks
from problems import Problem
from store.conversations import add_message, record_generation
from store.database import Store

log = logging.getLogger(__name__)


class TooLong(Problem):
    """The prompt does not fit the model's context."""


@dataclass(frozen=True)
class Turn:
    """What is to be answered, for whom, and where the answer belongs in the tree of messages."""

    person_id: str
    conversation_id: str
    parent_id: str  # the message that the answer hangs from
    messages: list[dict[str, str]]  # exactly what the model is given
    surface: Literal["page", "api"]
    model: str = "ratchet"
    pair: str | None = None  # shared by two answers that are shown side by side
    side: Literal["left", "right"] | None = None
    propensity: float | None = None  # how probable it was that this answer stood on this side
    thinking: bool | None = None  # whether the model is to think first; None leaves its own way
    deadline: float | None = None  # seconds from now in which it must end; None leaves the engine's own


@dataclass(frozen=True)
class Answer:
    """A recorded answer: `text` is what it says, `thinking` what the model thought before, in the completion's text."""

    generation_id: str
    message_id: str
    version: int
    completion: Completion
    text: str
    thinking: str
    seconds: float


@dataclass(eq=False)
class Reply:
    """One answer while it is being made. Iterate over it for its pieces, then await `answer`.

    Leaving the iteration early cancels the generation; what there is of it is recorded all the same.
    """

    turn: Turn
    prompt_ids: list[int]
    sampling: Sampling
    stream: Stream
    loaded: Loaded
    started: float
    pieces: Pieces
    first_seconds: float | None = None  # until its first piece
    generation_id: str = field(default_factory=lambda: f"gen-{secrets.token_hex(12)}")  # known before it is recorded
    answer: asyncio.Task[Answer] = field(init=False)
    _queue: asyncio.Queue[Piece | None] = field(default_factory=asyncio.Queue)

    def cancel(self) -> None:
        """End the generation at the next step; nothing happens to one that has ended."""
        self.stream.cancel()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        try:
            while (piece := await self._queue.get()) is not None:
                yield piece
        finally:
            self.cancel()


class Service:
    """The session between people, backend and store.

    Args:
        sampling: what a request leaves unsaid.
        context: tokens that prompt and answer may take together.
        pace: how fast one person may rate.
    """

    def __init__(
        self, store: Store, base: BaseText, watcher: Watcher, sampling: Sampling, context: int, pace: Pace
    ) -> None:
        self.store, self.base, self.watcher, self.sampling, self.context = store, base, watcher, sampling, context
        self.pace, self.metrics = pace, Metrics()
        self._under_way: set[Reply] = set()

    def fit(self, messages: list[dict[str, str]], sampling: Sampling) -> list[dict[str, str]]:
        """The messages without the oldest turns, as many as must go for an answer of `max_tokens` to fit.

        The system turn and the last turn always stay.
        """
        kept = list(messages)
        first = 1 if kept and kept[0]["role"] == "system" else 0
        room = self.context - min(sampling.max_tokens, self.context // 2)
        while len(kept) > first + 1 and len(encode_chat(self.base, kept)) > room:
            del kept[first]
            while len(kept) > first + 1 and kept[first]["role"] == "assistant":  # a conversation opens with a question
                del kept[first]
        return kept

    async def begin(self, turn: Turn, sampling: Sampling) -> Reply:
        """Start an answer.

        Raises:
            TooLong: the messages leave no room for an answer.
            Problem: unknown model, or the backend's queue is full (`lm.line.QueueFull`).
        """
        return await asyncio.shield(asyncio.ensure_future(self._begin(turn, sampling)))

    async def _begin(self, turn: Turn, sampling: Sampling) -> Reply:
        started = time.perf_counter()
        prompt_ids = await asyncio.to_thread(encode_chat, self.base, turn.messages, thinking=turn.thinking)
        room = self.context - len(prompt_ids)
        if room < 1:
            raise TooLong(
                f"the messages take {len(prompt_ids)} tokens and the model reads {self.context} with its answer",
                hint="shorten the message or start a new conversation",
            )
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        stream, loaded = await asyncio.to_thread(
            self.watcher.submit,
            turn.model,
            Prompt(turn.messages, prompt_ids),
            sampling,
            turn.person_id,
            turn.deadline,
        )
        reply = Reply(
            turn, prompt_ids, sampling, stream, loaded, started, Pieces(thinking_marks(self.base, turn.thinking))
        )
        reply.answer = asyncio.create_task(self._follow(reply), name="follow an answer")
        self._under_way.add(reply)
        return reply

    async def _follow(self, reply: Reply) -> Answer:
        try:
            async for delta in reply.stream:
                if reply.first_seconds is None:
                    reply.first_seconds = time.perf_counter() - reply.started
                reply._queue.put_nowait(reply.pieces.push(delta))
            reply._queue.put_nowait(reply.pieces.finish(reply.stream.completion))
            answer = await asyncio.to_thread(self._record, reply)
            self._tell(reply, answer)
            return answer
        except Late:  # nothing was begun, so there is nothing to record
            raise
        except Unavailable as problem:  # told to the reader; the backend's own log has the cause
            log.error("the answer %s was not made: %s", reply.generation_id, problem)
            raise
        except Exception:  # its reader may be gone, and nobody else would hear of it
            log.exception("the answer %s was not recorded", reply.generation_id)
            raise
        finally:
            self._under_way.discard(reply)
            reply._queue.put_nowait(None)

    def _record(self, reply: Reply) -> Answer:
        turn, completion = reply.turn, reply.stream.completion
        seconds = time.perf_counter() - reply.started
        text = reply.pieces.text.replace("\0", "\ufffd")  # a model may say what no store holds; its token ids tell
        with self.store.session() as session:
            generation = record_generation(
                session,
                person_id=turn.person_id,
                conversation_id=turn.conversation_id,
                messages=turn.messages,
                version_id=reply.loaded.id,
                adapter_hash=reply.loaded.adapter_hash,
                sampling=asdict(reply.sampling),
                token_ids=completion.token_ids,
                logprobs=completion.logprobs,
                text=text,
                finish_reason=completion.finish_reason,
                surface=turn.surface,
                latency=seconds,
                pair=turn.pair,
                side=turn.side,
                propensity=turn.propensity,
            )
            generation.id = reply.generation_id  # a stream has told it to its reader already
            session.flush()
            message = add_message(session, turn.conversation_id, turn.parent_id, "assistant", text, generation.id)
            said, thought = reply.pieces.text, reply.pieces.thinking
            return Answer(generation.id, message.id, reply.loaded.id, completion, said, thought, seconds)

    def _tell(self, reply: Reply, answer: Answer) -> None:
        """Count the answer, and log it without a word of it."""
        surface = reply.turn.surface
        self.metrics.answered(surface, reply.first_seconds, answer.seconds, answer.completion.waited)
        logs.tell(
            log,
            "answer",
            version=answer.version,
            tokens=len(answer.completion.token_ids),
            milliseconds=round(answer.seconds * 1000, 1),
            ended=answer.completion.finish_reason,
            surface=surface,
            person=logs.short(reply.turn.person_id),
        )

    @property
    def under_way(self) -> int:
        """How many answers are being made."""
        return len(self._under_way)

    async def drain(self) -> None:
        """Cancel the answers under way and wait until each is recorded as far as it got."""
        tasks = [reply.answer for reply in self._under_way]
        for reply in list(self._under_way):
            reply.cancel()
        if tasks:
            await asyncio.wait(tasks)
