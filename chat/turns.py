"""What the page does with a turn: send, answer again, edit, answer twice, stop. Each handler streams into the page."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import gradio as gr

from chat import people
from chat.explorer import Explorer
from chat.history import own_message, pair_under, thumbs, titles
from chat.parts import Parts
from chat.reply import Answer, Comparison, Reply, Turn, interleaved
from chat.service import Service
from chat.shown import Shown, at_store, id_of, last_id, note, piece, show, version_name
from lm.settings import Sampling
from problems import Problem
from store.conversations import add_message, new_conversation, path_to
from store.schema import Message

Step = dict[Any, Any]  # new values by component
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Asked:
    """A user's turn in the store, and what the page shows around it."""

    person_id: str
    conversation_id: str
    message_id: str
    messages: list[dict[str, str]]
    shown: list[Shown]
    thumbs: list[str | None]
    titles: list[tuple[str, str]]


class Turns:
    """The page's handlers of turns.

    Args:
        explorer: chooses the two answers of a turn that is answered twice.
        pair_share: probability that a turn is answered twice, to be compared.
    """

    def __init__(self, service: Service, parts: Parts, explorer: Explorer, pair_share: float) -> None:
        self.service, self.parts, self.explorer, self.pair_share = service, parts, explorer, pair_share
        self._running: dict[str, set[Reply | Comparison]] = defaultdict(set)  # by browser tab

    async def send(self, text: str, history: list[Shown], request: gr.Request) -> AsyncIterator[Step]:
        """A new message, answered once or, by chance, twice."""
        two = random.random() < self.pair_share
        async for step in self._say(text, history, request, two):
            yield step

    async def send_example(self, history: list[Shown], data: gr.SelectData, request: gr.Request) -> AsyncIterator[Step]:
        """A message picked from those that an empty conversation offers."""
        async for step in self.send(data.value["text"], history, request):
            yield step

    async def send_for_two(self, text: str, history: list[Shown], request: gr.Request) -> AsyncIterator[Step]:
        """A new message answered twice; without one, the last message is answered twice anew."""
        if text.strip():
            async for step in self._say(text, history, request, two=True):
                yield step
        elif asked_for := [each for each in history if each["role"] == "user"]:
            async for step in self._again(id_of(asked_for[-1]), request, two=True):
                yield step

    async def retry(self, history: list[Shown], data: gr.RetryData, request: gr.Request) -> AsyncIterator[Step]:
        """Another answer to the same message; the earlier one stays in the store, as a sibling."""
        assert isinstance(data.index, int)
        async for step in self._again(id_of(history[data.index]), request, two=False):
            yield step

    async def edit(self, history: list[Shown], data: gr.EditData, request: gr.Request) -> AsyncIterator[Step]:
        """A message said differently: a sibling of the first, answered anew."""
        assert isinstance(data.index, int)
        edited = id_of(history[data.index])
        text = data.value if isinstance(data.value, str) else str(data.value["text"])

        def write() -> Asked:
            with self.service.store.session() as session:
                person = people.of_page(session, request)
                old = own_message(session, person.id, edited)
                new = add_message(session, old.conversation_id, old.parent_id, "user", text)
                return self._asked(session, person.id, new)

        async for step in self._answer_or_explain(await at_store(write), request, two=False, text=""):
            yield step

    def stop(self, request: gr.Request) -> None:
        """End what is being written in this tab; what there is of it stays."""
        for reply in self._running.get(request.session_hash or "", ()):
            reply.cancel()

    async def _say(self, text: str, history: list[Shown], request: gr.Request, two: bool) -> AsyncIterator[Step]:
        if not text.strip():
            return

        def write() -> Asked:
            with self.service.store.session() as session:
                person = people.of_page(session, request)
                last = last_id(history)
                if last is None:
                    conversation_id, parent_id = new_conversation(session, person.id, "page").id, None
                else:
                    above = own_message(session, person.id, last)
                    pair = pair_under(session, above.id) if above.role == "user" else None
                    # Whoever writes on without judging a pair goes on from the left answer.
                    conversation_id, parent_id = above.conversation_id, pair.left.id if pair else above.id
                return self._asked(session, person.id, add_message(session, conversation_id, parent_id, "user", text))

        async for step in self._answer_or_explain(await at_store(write), request, two, text):
            yield step

    async def _again(self, message_id: str, request: gr.Request, two: bool) -> AsyncIterator[Step]:
        def read() -> Asked:
            with self.service.store.session() as session:
                person = people.of_page(session, request)
                return self._asked(session, person.id, own_message(session, person.id, message_id))

        async for step in self._answer_or_explain(await at_store(read), request, two, text=""):
            yield step

    def _asked(self, session: Any, person_id: str, message: Message) -> Asked:
        path = path_to(session, message.id)
        messages = [{"role": each.role, "content": each.content} for each in path]
        return Asked(
            person_id,
            message.conversation_id,
            message.id,
            messages,
            show(path),
            thumbs(session, person_id, path),
            titles(session, person_id),
        )

    async def _answer_or_explain(self, asked: Asked, request: gr.Request, two: bool, text: str) -> AsyncIterator[Step]:
        parts = self.parts
        choices = [(title, each) for each, title in asked.titles]
        yield {
            parts.chat: gr.Chatbot(value=asked.shown, feedback_value=asked.thumbs),
            parts.talks: gr.Radio(choices=choices, value=asked.conversation_id),
            parts.box: gr.Textbox(value="", submit_btn=False, stop_btn=True),
            parts.pair: gr.Row(visible=two),
            parts.verdict: gr.Row(visible=False),
            parts.left: "…",
            parts.right: "…",
            parts.details: gr.Column(visible=False),
            parts.status: note("Writing two answers …" if two else "Writing …"),
        }
        try:
            async for step in self._two(asked, request) if two else self._one(asked, request):
                yield step
        except Problem as problem:
            gr.Warning(f"{problem}. {problem.hint}".strip(), title="No answer")
            yield {
                parts.chat: asked.shown[:-1] if text else asked.shown,
                parts.box: gr.Textbox(value=text, submit_btn=True, stop_btn=False),
                parts.pair: gr.Row(visible=False),
                parts.status: note("Nothing was lost: try again."),
            }

    async def _one(self, asked: Asked, request: gr.Request) -> AsyncIterator[Step]:
        parts = self.parts
        reply = await self._begin(asked, request, self.service.sampling)
        written = ""
        try:
            async for delta in reply:
                written += delta.text
                thinks = bool(delta.thinking) and not written
                yield {
                    parts.chat: [*asked.shown, piece("assistant", written)],
                    parts.status: note("Thinking …" if thinks else "Writing …"),
                }
            answer = await reply.answer
            yield {
                parts.chat: [*asked.shown, piece("assistant", answer.text, answer.message_id)],
                parts.box: gr.Textbox(submit_btn=True, stop_btn=False),
                parts.status: note(_answered_by(answer)),
            }
        finally:
            self._ended(request, reply)

    async def _two(self, asked: Asked, request: gr.Request) -> AsyncIterator[Step]:
        """Two answers beside each other: by what serves and by the canary, if there is one, else two that were chosen
        among several, if there is a reward model to choose them.
        """
        choosing = self.service.watcher.canary is None and await self.explorer.ready()
        async for step in self._chosen(asked, request) if choosing else self._beside(asked, request):
            yield step

    async def _chosen(self, asked: Asked, request: gr.Request) -> AsyncIterator[Step]:
        """Two answers of several; they are shown when all are written, since none is chosen before."""
        of = self.explorer.candidates
        turn = await self._turn(asked, self.service.sampling)
        samplings = [self._seeded(index) for index in range(of)]
        comparison = await self.service.compare(turn, samplings, self.explorer.choose)
        self._running[request.session_hash or ""].add(comparison)
        try:
            async for written in comparison:
                yield {self.parts.status: note(f"Writing answers, of which you will see two: {written} of {of} …")}
            left, right = await comparison.answers
            yield self._to_compare(left, right)
        finally:
            self._ended(request, comparison)

    async def _beside(self, asked: Asked, request: gr.Request) -> AsyncIterator[Step]:
        """Two answers as they are written; where there is a canary one is its own, on a side drawn at random."""
        parts, canary = self.parts, self.service.watcher.canary
        models = ["ratchet", canary.model if canary else "ratchet"]
        random.shuffle(models)
        pair, propensity = secrets.token_hex(8), 0.5 if canary else 1.0
        replies: list[Reply] = []
        try:
            for index, side in enumerate(("left", "right")):
                turn = {"model": models[index], "pair": pair, "side": side, "propensity": propensity}
                replies.append(await self._begin(asked, request, self._seeded(index), **turn))
            written = dict.fromkeys(replies, "")
            async for reply, text in interleaved(replies):
                written[reply] += text
                yield {
                    part: written[each] or "…" for part, each in zip((parts.left, parts.right), replies, strict=True)
                }
            left, right = [await reply.answer for reply in replies]
            yield self._to_compare(left, right)
        finally:
            for reply in replies:
                self._ended(request, reply)

    def _to_compare(self, left: Answer, right: Answer) -> Step:
        parts = self.parts
        return {
            parts.left: left.text or "(nothing)",
            parts.right: right.text or "(nothing)",
            parts.verdict: gr.Row(visible=True),
            parts.box: gr.Textbox(submit_btn=True, stop_btn=False),
            parts.status: note("Which answer is better? The conversation goes on from your choice."),
        }

    def _seeded(self, index: int) -> Sampling:
        """How one of several answers to a turn is drawn: each with a seed of its own."""
        seed = self.service.sampling.seed
        return replace(self.service.sampling, seed=None if seed is None else seed + index)

    async def _turn(self, asked: Asked, sampling: Sampling) -> Turn:
        messages = await asyncio.to_thread(self.service.fit, asked.messages, sampling)
        return Turn(asked.person_id, asked.conversation_id, asked.message_id, messages, "page", propensity=1.0)

    async def _begin(self, asked: Asked, request: gr.Request, sampling: Sampling, **more: Any) -> Reply:
        turn = await self._turn(asked, sampling)
        reply = await self.service.begin(replace(turn, **more), sampling)
        self._running[request.session_hash or ""].add(reply)
        return reply

    def _ended(self, request: gr.Request, reply: Reply | Comparison) -> None:
        """Also when the page was closed halfway: nobody is left to read on."""
        reply.cancel()
        tab = request.session_hash or ""
        self._running[tab].discard(reply)
        if not self._running[tab]:
            del self._running[tab]


def _answered_by(answer: Answer) -> str:
    stopped = "Stopped. " if answer.completion.finish_reason == "cancelled" else ""
    return f"{stopped}Answered by {version_name(answer.version)} in {answer.seconds:.1f} s."
