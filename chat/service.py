"""An answer under way: from a turn to the engine's stream to a generation in the store.

Every answer is recorded exactly as it was made, also when the reader leaves halfway: a task of its own follows the
stream to its end and writes the generation and the message, whether anybody still listens or not.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy.orm import Session

from chat import logs
from chat.doors import Doors
from chat.metrics import Metrics
from chat.pace import Pace
from chat.pieces import Pieces
from chat.reply import Answer, Comparison, Draft, Reply, SideBySide, Turn
from chat.settings import ChatSettings
from chat.watcher import ALIAS, Loaded, Watcher
from lm.backend import Prompt
from lm.lengths import answer_limit
from lm.line import Late, Unavailable
from lm.loading import BaseText
from lm.prompts import encode_chat
from lm.settings import Sampling
from lm.stream import Stream
from lm.thinking import thinking_marks
from problems import Problem
from reward.exploration import Drawn
from store.conversations import add_message, record_generation
from store.database import Store

log = logging.getLogger(__name__)

Choose = Callable[[list[dict[str, str]], list[str]], Awaitable[Drawn | None]]  # messages, answers: which two are shown


# How often the right one of two answers is drawn again while it is the same as the left one. Answers that agree three
# times over are what the model is sure of: drawing on would cost the reader time and find nothing to compare.
REDRAWS = 2
DRAIN = 0.1  # seconds between two looks at what is still under way while the server stops


class TooLong(Problem):
    """The prompt does not fit the model's context."""


class Service:
    """The session between people, backend and store.

    Args:
        sampling: what a request leaves unsaid.
        context: tokens that prompt and answer may take together.
        pace: how fast one person may rate.
        doors: how much may come by one key or address; by default what a chat's settings are without being set.
    """

    def __init__(
        self,
        store: Store,
        base: BaseText,
        watcher: Watcher,
        sampling: Sampling,
        context: int,
        pace: Pace,
        doors: Doors | None = None,
    ) -> None:
        self.store, self.base, self.watcher, self.context = store, base, watcher, context
        self.sampling = replace(sampling, max_tokens=answer_limit(sampling, context))
        self.pace, self.doors, self.metrics = pace, doors or Doors(ChatSettings()), Metrics()
        self._under_way: dict[Reply | Comparison | SideBySide, asyncio.Task[Any]] = {}
        self._waiting: set[asyncio.Task[Any]] = set()

    def fit(self, messages: list[dict[str, str]], sampling: Sampling) -> list[dict[str, str]]:
        """The messages without the oldest turns, as many as must go for an answer of `max_tokens` to fit.

        The system turn and the last turn always stay.
        """
        kept = list(messages)
        first = 1 if kept and kept[0]["role"] == "system" else 0
        room = self.context - min(answer_limit(sampling, self.context), self.context // 2)
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
        [reply] = await self.begin_all([turn], [sampling])
        return reply

    async def begin_all(self, turns: Sequence[Turn], samplings: Sequence[Sampling]) -> list[Reply]:
        """Start an answer to each turn. Raises as `begin` does; if one is refused none goes on, and none is kept."""
        beginning = asyncio.ensure_future(self._begin(turns, samplings))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:  # nobody is left to read them
            beginning.add_done_callback(_cancelled)
            raise

    async def check_room(self, messages: Sequence[dict[str, str]], thinking: bool | None = None) -> list[int]:
        """Token ids of the messages, which leave room for one token of an answer at least.

        Raises:
            TooLong: they do not.
            Problem: the chat template refuses them.
        """
        prompt_ids = await asyncio.to_thread(encode_chat, self.base, list(messages), thinking=thinking)
        if len(prompt_ids) >= self.context:
            raise TooLong(
                f"the messages take {len(prompt_ids)} tokens and the model reads {self.context} with its answer",
                hint="shorten the message or start a new conversation",
            )
        return prompt_ids

    async def compare(self, turn: Turn, samplings: Sequence[Sampling], choose: Choose) -> Comparison:
        """Start an answer for each of `samplings`, two of which are shown side by side, each on either side by chance.

        Args:
            choose: told the messages and the different answers to them, once all are written; where it returns None,
                and where the comparison was cancelled before, the first two different ones are shown.

        Raises as `begin` does; if one answer is refused, none goes on.
        """
        return await asyncio.shield(asyncio.ensure_future(self._compare(turn, samplings, choose)))

    async def beside(self, turns: Sequence[Turn], samplings: Sequence[Sampling]) -> SideBySide:
        """Start two answers that are read as they are written: the left one and the right one.

        Where both come to the same text the right one is drawn again, `REDRAWS` times at most; if they still do, there
        is nothing to compare, and one answer is recorded: that of what serves, if one of them is.

        Raises as `begin` does; if one answer is refused, none goes on.
        """
        return await asyncio.shield(asyncio.ensure_future(self._beside(turns, samplings)))

    def wait_for(self, task: asyncio.Task[Any]) -> None:
        """Let `drain` wait for a task that waits for an answer itself."""
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _begin(self, turns: Sequence[Turn], samplings: Sequence[Sampling]) -> list[Reply]:
        return [self._reply(turn, draft) for turn, draft in zip(turns, await self._all(turns, samplings), strict=True)]

    def _reply(self, turn: Turn, draft: Draft) -> Reply:
        reply = Reply(turn, draft)
        reply.answer = asyncio.create_task(self._follow(reply), name="follow an answer")
        self._under_way[reply] = reply.answer
        return reply

    async def _compare(self, turn: Turn, samplings: Sequence[Sampling], choose: Choose) -> Comparison:
        comparison = Comparison(turn, await self._drafts(turn, samplings))
        comparison.answers = asyncio.create_task(self._choose(comparison, choose), name="choose two answers")
        self._under_way[comparison] = comparison.answers
        return comparison

    async def _all(self, turns: Sequence[Turn], samplings: Sequence[Sampling]) -> list[Draft]:
        """A draft of each turn; if one is refused, none goes on, and nothing is recorded."""
        drafts: list[Draft] = []
        try:
            for turn, sampling in zip(turns, samplings, strict=True):
                drafts += await self._drafts(turn, [sampling])
        except BaseException:
            for draft in drafts:
                draft.cancel()
            raise
        return drafts

    async def _beside(self, turns: Sequence[Turn], samplings: Sequence[Sampling]) -> SideBySide:
        drafts = await self._all(turns, samplings)
        both = SideBySide(turns, drafts)
        both.answers = asyncio.create_task(self._follow_both(both), name="follow two answers")
        self._under_way[both] = both.answers
        return both

    async def _drafts(self, turn: Turn, samplings: Sequence[Sampling]) -> list[Draft]:
        started = time.perf_counter()
        prompt_ids = list(turn.prompt_ids) or await self.check_room(turn.messages, turn.thinking)
        room = self.context - len(prompt_ids)
        samplings = [replace(each, max_tokens=min(answer_limit(each, self.context), room)) for each in samplings]
        begun = await asyncio.to_thread(self._submit, turn, Prompt(turn.messages, prompt_ids), samplings)
        marks = thinking_marks(self.base, turn.thinking)
        return [
            Draft(prompt_ids, sampling, stream, loaded, started, Pieces(marks))
            for sampling, (stream, loaded) in zip(samplings, begun, strict=True)
        ]

    def _submit(self, turn: Turn, prompt: Prompt, samplings: Sequence[Sampling]) -> list[tuple[Stream, Loaded]]:
        begun: list[tuple[Stream, Loaded]] = []
        try:
            for each in samplings:
                begun.append(self.watcher.submit(turn.model, prompt, each, turn.person_id, turn.deadline, turn.door))
        except BaseException:
            for stream, _ in begun:
                stream.cancel()
            raise
        return begun

    async def _follow(self, reply: Reply) -> Answer:
        with _failure_logged(f"the answer {reply.generation_id}"):
            try:
                await reply.draft.write(reply.queue.put_nowait)
                [answer] = await asyncio.to_thread(self._record, [(reply.draft, reply.turn)])
                return answer
            finally:
                self._under_way.pop(reply, None)
                reply.queue.put_nowait(None)

    async def _follow_both(self, both: SideBySide) -> list[Answer]:
        with _failure_logged(f"the pair {both.turns[0].pair}"):
            try:
                written = await both.write()
                while len(written) == 2 and both.redrawn < REDRAWS and _worth_redrawing(both):
                    try:
                        [draft] = await self._drafts(both.turns[1], [_another(both.drafts[1].sampling)])
                    except Problem:  # no place in the queue for another try: there is one answer, and it is kept
                        break
                    written = await both.redraw(draft)
                if len(written) == 2 and not both.same:
                    return await asyncio.to_thread(self._record, list(zip(both.drafts, both.turns, strict=True)))
                sides = [(draft, turn) for draft, turn in zip(both.drafts, both.turns, strict=True) if draft in written]
                draft, turn = min(sides, key=lambda side: side[1].model != ALIAS)
                return await asyncio.to_thread(self._record, [(draft, _alone(turn))])
            finally:
                self._under_way.pop(both, None)

    async def _choose(self, comparison: Comparison, choose: Choose) -> list[Answer]:
        turn = replace(comparison.turn, pair=secrets.token_hex(8), propensity=1.0)
        with _failure_logged(f"the pair {turn.pair}"):
            try:
                different = list(_different(await comparison.write()).values())
                if len(different) == 1:
                    return await asyncio.to_thread(self._record, [(different[0], _alone(turn))])
                shown, texts = different[:2], [draft.pieces.text for draft in different]
                if not comparison.stopped and (drawn := await choose(turn.messages, texts)) is not None:
                    turn = replace(turn, draw=drawn.draw, propensity=drawn.propensity)
                    shown = [different[drawn.first], different[drawn.second]]
                random.shuffle(shown)
                sides = replace(turn, side="left"), replace(turn, side="right")
                return await asyncio.to_thread(self._record, list(zip(shown, sides, strict=True)))
            finally:
                self._under_way.pop(comparison, None)

    def _record(self, drafts: Sequence[tuple[Draft, Turn]]) -> list[Answer]:
        """Keep what is shown: all of it or nothing."""
        with self.store.session() as session:
            answers = [self._keep(session, draft, turn) for draft, turn in drafts]
        for (draft, turn), answer in zip(drafts, answers, strict=True):
            self._tell(draft, turn, answer)
        return answers

    def _keep(self, session: Session, draft: Draft, turn: Turn) -> Answer:
        completion, said = draft.stream.completion, draft.pieces.text
        text = said.replace("\0", "\ufffd")  # a model may say what no store holds; its token ids tell
        generation = record_generation(
            session,
            person_id=turn.person_id,
            conversation_id=turn.conversation_id,
            messages=turn.messages,
            version_id=draft.loaded.id,
            adapter_hash=draft.loaded.adapter_hash,
            sampling=asdict(draft.sampling),
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            text=text,
            finish_reason=completion.finish_reason,
            surface=turn.surface,
            latency=draft.seconds,
            pair=turn.pair,
            side=turn.side,
            propensity=turn.propensity,
            draw=turn.draw,
        )
        generation.id = draft.generation_id  # a stream has told it to its reader already
        session.flush()
        message = add_message(session, turn.conversation_id, turn.parent_id, "assistant", text, generation.id)
        return Answer(
            generation.id, message.id, draft.loaded.id, completion, said, draft.pieces.thinking, draft.seconds
        )

    def _tell(self, draft: Draft, turn: Turn, answer: Answer) -> None:
        """Count the answer, and log it without a word of it."""
        surface = turn.surface
        self.metrics.answered(surface, draft.first_seconds, answer.seconds, answer.completion.waited)
        logs.tell(
            log,
            "answer",
            version=answer.version,
            tokens=len(answer.completion.token_ids),
            milliseconds=round(answer.seconds * 1000, 1),
            ended=answer.completion.finish_reason,
            surface=surface,
            person=logs.short(turn.person_id),
        )

    @property
    def under_way(self) -> int:
        """How many answers, or pairs of them, are being made."""
        return len(self._under_way)

    async def drain(self) -> None:
        """Cancel the answers under way and wait until each is recorded as far as it got."""
        while tasks := [*self._under_way.values(), *self._waiting]:
            for each in list(self._under_way):  # anew each time: what waited for its turn may have begun since
                each.cancel()
            await asyncio.wait(tasks, timeout=DRAIN)


def _worth_redrawing(both: SideBySide) -> bool:
    """Whether the two are the same, somebody waits for them, and chance could make another one."""
    return both.same and not both.stopped and both.drafts[1].sampling.temperature > 0


def _another(sampling: Sampling) -> Sampling:
    """The same sampling, with another seed where it has one."""
    return replace(sampling, seed=None if sampling.seed is None else sampling.seed + 1)


def _alone(turn: Turn) -> Turn:
    """The turn of an answer that is shown by itself, though it was to stand beside another."""
    return replace(turn, pair=None, side=None, draw=None, propensity=1.0)


def _different(drafts: Sequence[Draft]) -> dict[str, Draft]:
    """The first draft of each text; white space around it is not seen."""
    found: dict[str, Draft] = {}
    for draft in drafts:
        found.setdefault(draft.pieces.text.strip(), draft)
    return found


def _cancelled(beginning: asyncio.Future[list[Reply]]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        for reply in beginning.result():
            reply.cancel()


@contextmanager
def _failure_logged(what: str) -> Iterator[None]:
    """Log why an answer was not recorded: its reader may be gone, and nobody else would hear of it."""
    try:
        yield
    except Late:  # nothing was begun, so there is nothing to record
        raise
    except Unavailable as problem:  # told to the reader; the backend's own log has the cause
        log.error("%s was not made: %s", what, problem)
        raise
    except Exception:
        log.exception("%s was not recorded", what)
        raise
