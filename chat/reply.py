"""Answers while they are being made: one that is read as it comes, and two that are chosen among several."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from chat.pieces import Piece, Pieces
from chat.watcher import Loaded
from lm.settings import Sampling
from lm.stream import Completion, Stream

# Seconds between two words on a comparison: whether anybody listens shows only when they are told something.
BEAT = 0.25


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
    propensity: float | None = None  # how probable it was that this answer was shown in its place
    draw: Literal["uniform", "thompson"] | None = None  # how the two were chosen among several; None: they were not
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
class Draft:
    """One answer on its way from the backend; whether it is shown and recorded is not its own affair."""

    prompt_ids: list[int]
    sampling: Sampling
    stream: Stream
    loaded: Loaded
    started: float
    pieces: Pieces
    first_seconds: float | None = None  # until its first piece
    seconds: float = 0.0  # until its end
    generation_id: str = field(default_factory=lambda: f"gen-{secrets.token_hex(12)}")  # known before it is recorded

    def cancel(self) -> None:
        """End the generation at the next step; nothing happens to one that has ended."""
        self.stream.cancel()

    async def write(self, heard: Callable[[Piece], None]) -> None:
        """Follow the stream to its end; `heard` is given each piece. Raises the stream's error."""
        async for delta in self.stream:
            if self.first_seconds is None:
                self.first_seconds = time.perf_counter() - self.started
            heard(self.pieces.push(delta))
        heard(self.pieces.finish(self.stream.completion))
        self.seconds = time.perf_counter() - self.started


@dataclass(eq=False)
class Reply:
    """One answer that somebody reads while it is being made. Iterate over it for its pieces, then await `answer`.

    Leaving the iteration early cancels the generation; what there is of it is recorded all the same.
    """

    turn: Turn
    draft: Draft
    answer: asyncio.Task[Answer] = field(init=False)
    queue: asyncio.Queue[Piece | None] = field(default_factory=asyncio.Queue)

    @property
    def generation_id(self) -> str:
        """The id by which the answer can be rated, once it is recorded."""
        return self.draft.generation_id

    def cancel(self) -> None:
        """End the generation at the next step; nothing happens to one that has ended."""
        self.draft.cancel()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        try:
            while (piece := await self.queue.get()) is not None:
                yield piece
        finally:
            self.cancel()


@dataclass(eq=False)
class Comparison:
    """Two answers on their way, to be chosen among several drafts that nobody reads while they are being made.

    Iterate over it for the number of drafts that are written, now and then until there are `answers`: the left one and
    the right one. The other drafts are recorded nowhere. Leaving the iteration early cancels what is not written.
    """

    turn: Turn
    drafts: Sequence[Draft]
    answers: asyncio.Task[tuple[Answer, Answer]] = field(init=False)
    written: int = 0  # drafts that have come to their end
    stopped: bool = False  # before all drafts were written: there is no choosing then

    def cancel(self) -> None:
        """End every draft at the next step; the first two are the answers then, as far as they came."""
        self.stopped = True
        for draft in self.drafts:
            draft.cancel()

    async def write(self) -> list[Draft]:
        """Follow the drafts to their ends.

        Returns:
            Those that were made, at least two; where fewer could be, the first one's error is raised.
        """

        async def follow(draft: Draft) -> None:
            await draft.write(lambda piece: None)
            self.written += 1

        ended = await asyncio.gather(*map(follow, self.drafts), return_exceptions=True)
        errors = [error for error in ended if error is not None]
        if len(self.drafts) - len(errors) < 2:
            raise errors[0]
        return [draft for draft, error in zip(self.drafts, ended, strict=True) if error is None]

    async def __aiter__(self) -> AsyncIterator[int]:
        try:
            while not self.answers.done():
                yield self.written
                await asyncio.wait({self.answers}, timeout=BEAT)
        finally:
            self.cancel()


async def interleaved(replies: Sequence[Reply]) -> AsyncIterator[tuple[Reply, str]]:
    """The pieces of several replies as they come."""
    waiting: asyncio.Queue[tuple[Reply, str] | None] = asyncio.Queue()

    async def read(reply: Reply) -> None:
        try:
            async for piece in reply:
                waiting.put_nowait((reply, piece.text))
        finally:
            waiting.put_nowait(None)

    readers = [asyncio.create_task(read(reply)) for reply in replies]
    try:
        left = len(readers)
        while left:
            news = await waiting.get()
            if news is None:
                left -= 1
            else:
                yield news
    finally:
        for reader in readers:
            reader.cancel()
