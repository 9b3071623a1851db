"""What is shown: one function from a person, a conversation, the store and what is being written to the page.

Every event of the page ends here, and nothing else draws the conversation, the list, the pair, the box's buttons or
the consent. So view and store cannot drift apart: whatever a handler did or left undone, what is drawn next is read
anew. Only what has changed since is sent; the browser tells what it has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from chat.arrivals import TooManyPeople
from chat.history import View, thumbs, titles, view
from chat.live import Ended, LiveTurn, LiveTurns
from chat.markup import answer_markup
from chat.parts import Parts
from chat.service import Service
from chat.shown import NOTHING, UNANSWERED, note, refusal, show, version_name, written
from problems import Problem
from store.conversations import path_to

Step = dict[Any, Any]  # new values by component
REDRAW = "redraw"  # in place of what was seen: draw everything, and leave the status as it is


@dataclass(frozen=True)
class Stored:
    """What the store holds for a person who has a conversation open."""

    person_id: str
    consent: bool
    titles: list[tuple[str, str]]
    view: View
    thumbs: list[str | None]


@dataclass(frozen=True)
class Seen:
    """What the browser has: the conversation, the end of a turn told last, and a digest of each part."""

    at: str | None = None
    ended: str = ""
    drawn: dict[str, str] = field(default_factory=dict)

    @classmethod
    def unpacked(cls, packed: str | None, at: str, ended: str) -> Seen:
        """What `packed` was; after REDRAW that nothing is right but the status; of anything else, that nothing is."""
        if packed == REDRAW:
            return cls(at, ended)
        try:
            seen = cls(**json.loads(packed or "{}"))
        except (ValueError, TypeError):
            return cls()
        return seen if isinstance(seen.drawn, dict) else cls()

    def packed(self) -> str:
        """As text, for the browser to keep."""
        return json.dumps(vars(self))


class Screen:
    """Draws the page."""

    def __init__(self, service: Service, parts: Parts, live: LiveTurns) -> None:
        self.service, self.parts, self.live = service, parts, live

    async def start(self, at: str | None, request: gr.Request) -> Step:
        """Open what was open in this tab before; in a new tab, the conversation that this person last spoke in."""

        def choose() -> str:
            with self.service.store.session() as session:
                own = [each for each, _ in titles(session, self.service.doors.of_page(session, request).id)]
            return at if at is not None and at in ("", *own) else next(iter(own), "")

        try:
            opened = await asyncio.to_thread(choose)
        except TooManyPeople:  # `look` says so
            opened = ""
        return {self.parts.memory.at: opened}

    async def look(self, at: str | None, made: str | None, packed: str | None, request: gr.Request) -> Step:
        """Draw what has changed.

        Args:
            at: the open conversation; empty: a new one.
            made: the conversation that was begun in this tab last.
            packed: what this gave as `seen` the last time; REDRAW, where the browser may show what was refused.
        """
        at = at or ""
        live = self.live.of(at)  # before the store is read: what ends in between is drawn at the next tick
        try:
            stored = await asyncio.to_thread(self._read, at, live, request)
        except Problem as problem:  # a key that is good no more
            return {self.parts.status: refusal(problem), self.parts.timer: gr.Timer(active=False)}
        if live is not None and live.asked.person_id != stored.person_id:
            live = None
        ended = None if live else self.live.ended(at)
        before = Seen.unpacked(packed, at, ended.id if ended else "")
        drawings = self._drawings(live, stored)
        drawn = {name: _digest(values) for name, (_, values) in drawings.items()}
        step: Step = {
            self._part(name): component(**values)
            for name, (component, values) in drawings.items()
            if before.drawn.get(name) != drawn[name]
        }
        opened = at != before.at and not (before.at == "" and at == made)
        said = self._status(live, ended, stored, before, opened)
        drawn["status"] = _digest(live.note if live else None)
        if said is not None and (live is None or opened or before.drawn.get("status") != drawn["status"]):
            step[self.parts.status] = note(said)
        after = Seen(at, ended.id if ended else before.ended, drawn)
        return step | {
            self.parts.memory.seen: after.packed(),
            self.parts.timer: gr.Timer(active=live is not None),
        }

    def _read(self, at: str, live: LiveTurn | None, request: gr.Request) -> Stored:
        with self.service.store.session() as session:
            person = self.service.doors.of_page(session, request)
            seen = view(session, person.id, at)
            if live is not None and live.asked.person_id == person.id:
                seen = View(path_to(session, live.asked.message_id))
            named = titles(session, person.id)
            return Stored(person.id, person.consent, named, seen, thumbs(session, person.id, seen.path))

    def _drawings(self, live: LiveTurn | None, stored: Stored) -> dict[str, tuple[Any, dict[str, Any]]]:
        """By the name of the part: its component, and what is shown in it."""
        seen, messages = stored.view, show(stored.view.path)
        left, right = (seen.pair.left.content, seen.pair.right.content) if seen.pair else ("", "")
        compared = seen.pair is not None
        if live is not None and live.two:
            left, right = (text or "…" for text in live.texts)
        elif live is not None:
            messages.append(written(live.texts[0]))
        elif seen.unanswered:
            messages.append(UNANSWERED)
        return {
            "talks": (gr.Radio, {"choices": [(title, each) for each, title in stored.titles]}),
            "chat": (gr.Chatbot, {"value": messages, "feedback_value": stored.thumbs}),
            "pair": (gr.Row, {"visible": compared or (live is not None and live.two)}),
            "verdict": (gr.Row, {"visible": compared}),
            "left": (gr.Markdown, {"value": answer_markup(left or NOTHING)}),
            "right": (gr.Markdown, {"value": answer_markup(right or NOTHING)}),
            "left_id": (gr.Textbox, {"value": seen.pair.left.id if seen.pair else ""}),
            "box": (gr.Textbox, {"submit_btn": live is None, "stop_btn": live is not None}),
            "consent": (gr.Checkbox, {"value": stored.consent}),
        }

    def _part(self, name: str) -> Any:
        return getattr(self.parts if hasattr(self.parts, name) else self.parts.memory, name)

    def _status(
        self, live: LiveTurn | None, ended: Ended | None, stored: Stored, before: Seen, opened: bool
    ) -> str | None:
        """The line under the conversation; None: what it says still holds."""
        if live is not None:
            return live.note
        if ended is not None and ended.id != before.ended and (not opened or (ended.failed and stored.view.unanswered)):
            return ended.note
        return f"Answers come from {version_name(self.service.watcher.serving.id)}." if opened else None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
