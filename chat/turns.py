"""What the page does with a turn: send, answer again, edit, answer twice, stop.

Each handler puts a question into the store and has it answered; what is shown of that is drawn by `screen`. A handler
that refuses says why, and changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import gradio as gr
from sqlalchemy.orm import Session

from chat.history import own_message, view
from chat.live import Asked, LiveTurns
from chat.parts import Parts
from chat.screen import REDRAW, Step
from chat.service import Service
from chat.shown import Shown, id_of, note, refusal
from problems import Problem
from store.conversations import add_message, new_conversation, path_to
from store.schema import Message

Find = Callable[[Session, str], Message]  # a message of a person's, in the store


class Turns:
    """The page's handlers of turns.

    Args:
        pair_share: probability that a turn is answered twice, to be compared.
    """

    def __init__(self, service: Service, parts: Parts, live: LiveTurns, pair_share: float) -> None:
        self.service, self.parts, self.live, self.pair_share = service, parts, live, pair_share

    async def send(self, text: str, at: str, made: str | None, request: gr.Request, data: gr.EventData) -> Step:
        """A new message, answered once or, by chance, twice; by the button for two answers, twice.

        That button without a message has the last question answered twice anew.

        Args:
            at: the open conversation; empty: a new one.
            made: the conversation that was begun in this tab last, as far as the browser knows.
        """
        two = data.target is not None and data.target._id == self.parts.two._id
        if text.strip():
            return await self._say(text, at, made, request, two or random.random() < self.pair_share)
        if two and at:
            return await self._again(lambda session, person_id: _last_question(session, person_id, at), request, two)
        return self._said(note("Write a message first."))

    async def send_example(self, at: str, made: str | None, request: gr.Request, data: gr.SelectData) -> Step:
        """A message picked from those that an empty conversation offers."""
        return await self._say(data.value["text"], at, made, request, random.random() < self.pair_share)

    async def retry(self, history: list[Shown], request: gr.Request, data: gr.RetryData) -> Step:
        """Another answer to the same message; the earlier one stays in the store, as a sibling."""
        assert isinstance(data.index, int)
        asked_for = history[data.index]
        return await self._again(
            lambda session, person_id: own_message(session, person_id, id_of(asked_for)), request, two=False
        )

    async def edit(self, history: list[Shown], request: gr.Request, data: gr.EditData) -> Step:
        """A message said differently: a sibling of the first, answered anew."""
        assert isinstance(data.index, int)
        edited = history[data.index]
        text = data.value if isinstance(data.value, str) else str(data.value["text"])

        def find(session: Session, person_id: str) -> Message:
            return own_message(session, person_id, id_of(edited))

        def write(session: Session, person_id: str) -> Message:
            old = find(session, person_id)
            return add_message(session, old.conversation_id, old.parent_id, "user", text)

        if not text.strip():
            return self._said(note("An empty message cannot be sent."), redraw=True)
        return await self._ask(find, write, request, two=False)

    async def stop(self, at: str, request: gr.Request) -> None:
        """End what is being written in the open conversation; what there is of it stays."""
        live = self.live.of(at)
        if live is not None and live.asked.person_id == await asyncio.to_thread(self._person, request):
            live.stop()

    async def _say(self, text: str, at: str, made: str | None, request: gr.Request, two: bool) -> Step:
        def write(session: Session, person_id: str) -> Message:
            seen = view(session, person_id, at)
            if at and not seen.path:
                raise Problem("that conversation is not one of yours", hint="reload the page")
            conversation_id = at or new_conversation(session, person_id, "page").id
            return add_message(session, conversation_id, seen.end, "user", text)

        try:
            door = self._door(request, two)
            if at:
                with self.live.place(at):
                    asked = await asyncio.to_thread(self._put, write, request)
                    self.live.start(replace(asked, door=door), two)
            else:
                with self.live.new_place(request.session_hash or "", made or "") as begun:
                    asked = await asyncio.to_thread(self._put, write, request)
                    begun(asked.conversation_id)
                    self.live.start(replace(asked, door=door), two)
        except Problem as problem:
            return self._said(refusal(problem))
        memory = self.parts.memory
        step = self._said(note("Writing two answers …" if two else "Writing …")) | {memory.sent: text}
        return step if at else step | {memory.made: asked.conversation_id}

    async def _again(self, find: Find, request: gr.Request, two: bool) -> Step:
        return await self._ask(find, find, request, two)

    async def _ask(self, find: Find, write: Find, request: gr.Request, two: bool) -> Step:
        """Have a message answered that `write` gives, in the conversation of the one that `find` gives."""
        try:
            door = self._door(request, two)
            found = await asyncio.to_thread(self._put, find, request)
            with self.live.place(found.conversation_id):
                asked = await asyncio.to_thread(self._put, write, request)
                self.live.start(replace(asked, door=door), two)
        except Problem as problem:
            return self._said(refusal(problem), redraw=True)
        return self._said(note("Writing two answers …" if two else "Writing …"))

    def _door(self, request: gr.Request, two: bool) -> str:
        """By which door the message comes; for two answers as many are written as there are to choose from."""
        return self.service.doors.asks(request, self.live.explorer.candidates if two else 1)

    def _put(self, write: Find, request: gr.Request) -> Asked:
        with self.service.store.session() as session:
            person = self.service.doors.of_page(session, request)
            message = write(session, person.id)
            path = path_to(session, message.id)
            messages = [{"role": each.role, "content": each.content} for each in path]
            return Asked(person.id, message.conversation_id, message.id, messages)

    def _person(self, request: gr.Request) -> str:
        with self.service.store.session() as session:
            return self.service.doors.of_page(session, request).id

    def _said(self, status: str, redraw: bool = False) -> Step:
        """What every handler gives back: the status, and that nothing was taken from the box.

        Args:
            redraw: draw everything anew, as the browser may show what was refused.
        """
        memory = self.parts.memory
        step: Step = {self.parts.status: status, memory.sent: ""}
        return step | {memory.seen: REDRAW} if redraw else step


def _last_question(session: Session, person_id: str, conversation_id: str) -> Message:
    asked = [each for each in view(session, person_id, conversation_id).path if each.role == "user"]
    if not asked:
        raise Problem("nothing was asked here yet", hint="write a message first")
    return asked[-1]
