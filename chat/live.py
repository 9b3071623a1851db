"""Turns of the page that are being answered now, by conversation.

A stream belongs to its conversation: it goes on and is recorded whether its reader stays, reloads, opens another
conversation or leaves, and whoever opens the conversation reads on where it is. Nothing here knows of the page's
components; what they show of a turn is in `screen`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from chat.explorer import Explorer
from chat.reply import Answer, Comparison, Reply, SideBySide, Turn
from chat.service import Service
from chat.shown import version_name, words_of
from chat.watcher import ALIAS
from lm.settings import Sampling
from problems import Problem

T = TypeVar("T")

log = logging.getLogger(__name__)

REMEMBERED = 1000  # ends of turns that somebody may not have seen yet, and beginnings of conversations


class Busy(Problem):
    """An answer is being written in this conversation already."""


@dataclass(frozen=True)
class Asked:
    """A user's turn in the store."""

    person_id: str
    conversation_id: str
    message_id: str
    messages: list[dict[str, str]]
    door: str = ""  # the key or address that it came by


@dataclass(eq=False)
class LiveTurn:
    """A turn that is being answered: once, or twice side by side (`two`)."""

    asked: Asked
    two: bool
    work: Reply | Comparison | SideBySide | None = None  # None: the backend has not taken it yet
    stopped: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def texts(self) -> list[str]:
        """What there is to read: one text, or that of each side."""
        if isinstance(self.work, Reply):
            return [self.work.draft.pieces.text]
        if isinstance(self.work, SideBySide):
            return [draft.pieces.text for draft in self.work.drafts]
        return ["", ""] if self.two else [""]

    @property
    def note(self) -> str:
        """How far it is, in a sentence."""
        if isinstance(self.work, Comparison):
            of = len(self.work.drafts)
            return f"Writing answers, of which you will see two: {self.work.written} of {of} …"
        if isinstance(self.work, SideBySide) and self.work.redrawn:
            return "Both came out the same: writing another …"
        if self.two:
            return "Writing two answers …"
        thinks = isinstance(self.work, Reply) and self.work.draft.pieces.thinking and not self.texts[0]
        return "Thinking …" if thinks else "Writing …"

    def stop(self) -> None:
        """End it; what there is of it is recorded."""
        self.stopped = True
        if self.work is not None:
            self.work.cancel()


@dataclass(frozen=True)
class Ended:
    """How a turn came to its end: `note` says it in a sentence; `failed`, that there is no answer."""

    id: str
    note: str
    failed: bool = False


class LiveTurns:
    """All turns of the page under way.

    Args:
        explorer: chooses the two answers of a turn that is answered twice.
    """

    def __init__(self, service: Service, explorer: Explorer) -> None:
        self.service, self.explorer = service, explorer
        self._live: dict[str, LiveTurn] = {}
        self._reserved: set[str] = set()
        self._ended: OrderedDict[str, Ended] = OrderedDict()  # by conversation
        self._begun: OrderedDict[str, str] = OrderedDict()  # by tab, the conversation that was begun in it last

    def of(self, conversation_id: str) -> LiveTurn | None:
        """What is being written in a conversation."""
        return self._live.get(conversation_id)

    def ended(self, conversation_id: str) -> Ended | None:
        """How the latest turn of a conversation ended, if that is not long ago."""
        return self._ended.get(conversation_id)

    def stop(self, conversation_id: str) -> None:
        """End what is being written in a conversation."""
        if live := self.of(conversation_id):
            live.stop()

    @contextmanager
    def place(self, conversation_id: str) -> Iterator[None]:
        """Keep others from beginning a turn in a conversation while one is put into the store.

        Raises:
            Busy: an answer is being written there, or about to be.
        """
        if conversation_id in self._live or conversation_id in self._reserved:
            raise Busy("an answer is being written here", hint="wait for its end, or stop it")
        self._reserved.add(conversation_id)
        try:
            yield
        finally:
            self._reserved.discard(conversation_id)

    @contextmanager
    def new_place(self, tab: str, made: str) -> Iterator[Callable[[str], None]]:
        """As `place`, for a conversation that is not there yet; gives what is to be told its id.

        Args:
            made: the last conversation begun in this tab that the browser knows of. Where it was not told of the one
                begun last, the same message is on its way a second time.

        Raises:
            Busy: as `place`.
        """
        if self._begun.get(tab, made) != made:
            raise Busy("this message was sent already", hint="it will be shown in a moment")
        with self.place(f"new in {tab}"):
            yield lambda conversation_id: _remember(self._begun, tab, conversation_id)

    def start(self, asked: Asked, two: bool) -> LiveTurn:
        """Begin to answer; the caller has the conversation's `place`."""
        live = LiveTurn(asked, two)
        self._live[asked.conversation_id] = live
        self.service.wait_for(asyncio.create_task(self._answer(live), name="answer a turn of the page"))
        return live

    async def _answer(self, live: LiveTurn) -> None:
        ended = Ended(live.id, "No answer: the server was stopped.", failed=True)
        try:
            live.work = await self._begin(live)
            if live.stopped:
                live.work.cancel()
            ended = Ended(live.id, _told(live, await _answers(live.work)))
        except Problem as problem:
            ended = Ended(live.id, f"No answer: {words_of(problem)}", failed=True)
        except Exception:  # nobody waits for this task: the log and the page are told
            log.exception("a turn of the page was not answered")
            ended = Ended(live.id, "No answer: something failed, and the server's log says what.", failed=True)
        finally:
            del self._live[live.asked.conversation_id]
            _remember(self._ended, live.asked.conversation_id, ended)

    async def _begin(self, live: LiveTurn) -> Reply | Comparison | SideBySide:
        service, canary = self.service, self.service.watcher.canary
        turn = await self._turn(live.asked)
        if not live.two:
            return await service.begin(turn, service.sampling)
        if canary is None and await self.explorer.ready():
            samplings = [self._seeded(index) for index in range(self.explorer.candidates)]
            return await service.compare(turn, samplings, self.explorer.choose)
        # Where there is a canary one of the two is its own, on a side drawn at random.
        models = [ALIAS, canary.model if canary else ALIAS]
        random.shuffle(models)
        both: dict[str, Any] = {"pair": secrets.token_hex(8), "propensity": 0.5 if canary else 1.0}
        left = replace(turn, model=models[0], side="left", **both)
        right = replace(turn, model=models[1], side="right", **both)
        return await service.beside((left, right), [self._seeded(index) for index in range(2)])

    async def _turn(self, asked: Asked) -> Turn:
        messages = await asyncio.to_thread(self.service.fit, asked.messages, self.service.sampling)
        return Turn(
            asked.person_id, asked.conversation_id, asked.message_id, messages, "page", propensity=1.0, door=asked.door
        )

    def _seeded(self, index: int) -> Sampling:
        """How one of several answers to a turn is drawn: each with a seed of its own."""
        seed = self.service.sampling.seed
        return replace(self.service.sampling, seed=None if seed is None else seed + index)


def _remember(among: OrderedDict[str, T], key: str, value: T) -> None:
    among[key] = value
    among.move_to_end(key)
    while len(among) > REMEMBERED:
        among.popitem(last=False)


async def _answers(work: Reply | Comparison | SideBySide) -> list[Answer]:
    return [await work.answer] if isinstance(work, Reply) else await work.answers


def _told(live: LiveTurn, answers: list[Answer]) -> str:
    if len(answers) == 2:
        return "Which answer is better? The conversation goes on from your choice."
    [answer] = answers
    stopped = "Stopped. " if answer.completion.finish_reason == "cancelled" else ""
    one = "There was only one answer to show. " if live.two and not stopped else ""
    return f"{stopped}{one}Answered by {version_name(answer.version)} in {answer.seconds:.1f} s."
