"""Answers while they are being made: one, two side by side, and two that are chosen among several."""

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
    prompt_ids: Sequence[int] = ()  # token ids of the messages, where they are known already
    door: str = ""  # the key or network address that it came by, where that is somebody's alone


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

    `answers` are the left one and the right one, or a single one where all drafts have the same text. The other drafts
    are recorded nowhere.
    """

    turn: Turn
    drafts: Sequence[Draft]
    answers: asyncio.Task[list[Answer]] = field(init=False)
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

        def count() -> None:
            self.written += 1

        written, errors = await _followed(self.drafts, count)
        if len(written) < 2:
            raise errors[0]
        return written


@dataclass(eq=False)
class SideBySide:
    """Two answers that are read while they are being made, each on a side of its own: `drafts` is left and right.

    `answers` are both, or a single one where they came to the same text, drawn again or not, or where one failed.
    """

    turns: Sequence[Turn]
    drafts: list[Draft]
    answers: asyncio.Task[list[Answer]] = field(init=False)
    redrawn: int = 0  # how often the right one was drawn again, as it was the same as the left one
    stopped: bool = False

    def cancel(self) -> None:
        """End both at the next step; what there is of them are the answers."""
        self.stopped = True
        for draft in self.drafts:
            draft.cancel()

    async def write(self) -> list[Draft]:
        """Follow both to their ends. Returns those that were made; raises the left one's error if neither was."""
        written, errors = await _followed(self.drafts)
        if not written:
            raise errors[0]
        return written

    async def redraw(self, draft: Draft) -> list[Draft]:
        """Follow another draft in the right one's place; returns as `write` does."""
        self.redrawn += 1
        self.drafts[1] = draft
        if self.stopped:
            draft.cancel()
        written, _ = await _followed([draft])
        return [self.drafts[0], *written]

    @property
    def same(self) -> bool:
        """Whether a reader could not tell the two apart."""
        left, right = self.drafts
        return left.pieces.text.strip() == right.pieces.text.strip()


async def _followed(
    drafts: Sequence[Draft], ended: Callable[[], None] = lambda: None
) -> tuple[list[Draft], list[BaseException]]:
    """Follow drafts to their ends: those that were made, and the errors of the others. `ended` is told of each made."""

    async def follow(draft: Draft) -> None:
        await draft.write(lambda piece: None)
        ended()

    ends = await asyncio.gather(*map(follow, drafts), return_exceptions=True)
    written = [draft for draft, error in zip(drafts, ends, strict=True) if error is None]
    return written, [error for error in ends if error is not None]
