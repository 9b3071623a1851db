"""What the page does with an opinion: thumbs, reasons, comment, correction, and the verdict on two answers.

A handler gives back the panel and the status. The thumbs, the pair and the consent are drawn by `screen`, from the
store: so a refusal changes nothing that is shown.
"""

from __future__ import annotations

import asyncio
import html
from typing import Any

import gradio as gr
from sqlalchemy.orm import Session

from chat.history import own_message, pair_under
from chat.parts import SAY_MORE, Parts
from chat.screen import REDRAW, Step
from chat.service import Service
from chat.shown import NOTHING, Shown, id_of, note, refusal, version_name
from problems import Problem
from reward.tags import BAD, GOOD
from store.conversations import set_consent
from store.ratings import count_present, present, rate, withdraw
from store.schema import Generation, Message, Person

VERDICTS = {"left": "the left answer", "right": "the right answer", "tie": "a tie", "both_bad": "neither answer"}
# By the thumb: the tags that the panel offers, and what it asks. 0: no thumb.
TAGS = {1: (GOOD, "What was good?"), -1: (BAD, "What was wrong?"), 0: (GOOD + BAD, "Why?")}
QUOTE = 60  # characters of an answer by which the panel names it


class Opinions:
    """The page's handlers of opinions."""

    def __init__(self, service: Service, parts: Parts) -> None:
        self.service, self.parts = service, parts

    async def thumb(self, history: list[Shown], rated: str, request: gr.Request, data: gr.LikeData) -> Step:
        """A thumb up or down, or taken back; an opened panel asks for more, which nobody owes."""
        assert isinstance(data.index, int)
        try:
            message_id = id_of(history[data.index])
            if data.liked == SAY_MORE:
                step = await asyncio.to_thread(self._say_more, message_id, request)
            else:
                return await asyncio.to_thread(self._thumb, message_id, data.liked, rated, request)
        except Problem as problem:
            step = {self.parts.status: refusal(problem, "Not kept")}
        # The browser has marked what was clicked by itself. It forgets that mark when it is given another one, which
        # means nothing, and then those of the store.
        meaningless = ["-"] * len(history)
        return step | {self.parts.chat: gr.Chatbot(feedback_value=meaningless), self.parts.memory.seen: REDRAW}

    async def reasons(self, chosen: list[str], rated: str, request: gr.Request) -> Step:
        """Why: any number of tags, replaced as a whole."""
        return await self._told(self._keep, {"tags": chosen}, rated, request)

    async def words(self, comment: str, correction: str, rated: str, request: gr.Request) -> Step:
        """A comment, and what a better answer would be; emptied means taken back."""
        opinions = {"comment": comment.strip(), "correction": correction.strip()}
        return await self._told(self._keep_words, opinions, rated, request)

    async def close(self) -> Step:
        """The panel away; what was typed into it is still there when it is opened again."""
        return self._panel_away()

    async def tidy(self, comment: str, correction: str, rated: str, request: gr.Request) -> Step:
        """The panel away as the person goes on to something else, unless there are words in it that were not kept."""
        if not rated:
            return gr.skip()
        typed = {"comment": comment.strip(), "correction": correction.strip()}

        def kept() -> bool:
            with self.service.store.session() as session:
                person, generation, _ = self._subject(session, rated, request)
                said = {each.kind: each.value for each in present(session, generation.id, person.id)}
                return all(words == said.get(kind, "").strip() for kind, words in typed.items())

        try:
            return self._panel_away() if await asyncio.to_thread(kept) else gr.skip()
        except Problem:  # it can be rated no more: the words stay where they can be read and copied
            return gr.skip()

    async def judge(self, verdict: str, left_id: str, request: gr.Request) -> Step:
        """The verdict on two answers; the chosen one, else the left one, goes on as the conversation."""
        return await self._told(self._judge, verdict, left_id, request)

    async def consent(self, given: bool, request: gr.Request) -> Step:
        """Whether this person's words and opinions, earlier ones too, may be learned from."""
        return await self._told(self._consent, given, request)

    async def _told(self, work: Any, *arguments: Any) -> Step:
        """What `work` gives back; where it refuses, why, and everything as the store has it."""
        try:
            return await asyncio.to_thread(work, *arguments)
        except Problem as problem:
            return {self.parts.status: refusal(problem, "Not kept"), self.parts.memory.seen: REDRAW}

    def _thumb(self, message_id: str, liked: bool | str, rated: str, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            person, generation, message = self._subject(session, message_id, request)
            self._paced(person, request)
            on = {"generation_id": generation.id, "person_id": person.id}
            if liked == "":  # the same thumb pressed again
                if any(each.kind == "thumb" for each in present(session, generation.id, person.id)):
                    withdraw(session, **on, kind="thumb", surface="page")
                away = self._panel_away() if rated == message_id else {}
                return away | {self.parts.status: note("Taken back.")}
            rate(session, **on, kind="thumb", value=1 if liked else -1, surface="page")
            self.service.metrics.rated("page", "thumb")
            panel = self._panel(session, person, generation, message)
            return panel | {self.parts.status: self._thanks(session, generation)}

    def _paced(self, person: Person, request: gr.Request) -> None:
        self.service.doors.rates(request)
        self.service.pace.step(person.id)

    def _say_more(self, message_id: str, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            return self._panel(session, *self._subject(session, message_id, request))

    def _panel(
        self, session: Session, person: Person, generation: Generation, message: Message, thumb: int = 0
    ) -> Step:
        """The panel about an answer, with what this person has said of it; `thumb` stands in for one not given.

        The browser adds the words that were typed and not kept, and opens it.
        """
        parts = self.parts
        said = {each.kind: each.value for each in present(session, generation.id, person.id)}
        choices, label = TAGS[said.get("thumb", thumb)]
        line = " ".join(message.content.split()) or NOTHING
        quote = line if len(line) <= QUOTE else line[: QUOTE - 1].rstrip() + "…"
        return {
            parts.about: f"About the answer <q>{html.escape(quote)}</q>",
            parts.reasons: gr.CheckboxGroup(
                choices=list(choices),
                value=[tag for tag in said.get("tags", []) if tag in choices],
                label=label,
            ),
            parts.comment: said.get("comment", ""),
            parts.correction: said.get("correction", ""),
            parts.memory.rated: message.id,
        }

    def _panel_away(self) -> Step:
        return {self.parts.details: gr.Column(visible=False), self.parts.memory.rated: ""}

    def _keep_words(self, opinions: dict[str, Any], rated: str, request: gr.Request) -> Step:
        return self._keep(opinions, rated, request) | self._panel_away() | {self.parts.memory.kept: rated}

    def _keep(self, opinions: dict[str, Any], rated: str, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            person, generation, _ = self._subject(session, rated, request)
            self._paced(person, request)
            on = {"generation_id": generation.id, "person_id": person.id}
            said = {each.kind: each.value for each in present(session, generation.id, person.id)}
            for kind, value in opinions.items():
                if value and value != said.get(kind):
                    rate(session, **on, kind=kind, value=value, surface="page")
                    self.service.metrics.rated("page", kind)
                elif not value and kind in said:
                    withdraw(session, **on, kind=kind, surface="page")
            return {self.parts.status: self._thanks(session, generation)}

    def _judge(self, verdict: str, left_id: str, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            person, generation, left = self._subject(session, left_id, request)
            self._paced(person, request)
            pair = pair_under(session, left.parent_id or "")
            if pair is None or pair.left.id != left.id or pair.right.generation_id is None:
                raise Problem("there are no two answers to judge", hint="reload the page")
            rate(
                session,
                generation_id=generation.id,
                person_id=person.id,
                kind="pair",
                value=verdict,
                other=pair.right.generation_id,
                surface="page",
            )
            self.service.metrics.rated("page", "pair")
            chosen = pair.right if verdict == "right" else left
            about = session.get_one(Generation, chosen.generation_id)
            step: Step = {self.parts.status: self._thanks(session, about, f"You chose {VERDICTS[verdict]}. ")}
            return step | self._panel(session, person, generation, left, -1) if verdict == "both_bad" else step

    def _consent(self, given: bool, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            set_consent(session, self.service.doors.of_page(session, request).id, given)
        said = "may be learned from" if given else "stay out of every later training"
        return {self.parts.status: note(f"Your chats and ratings {said}.", thanks=given)}

    def _subject(self, session: Session, message_id: str, request: gr.Request) -> tuple[Person, Generation, Message]:
        person = self.service.doors.of_page(session, request, "rate")
        message = own_message(session, person.id, message_id)
        generation = session.get(Generation, message.generation_id) if message.generation_id else None
        if generation is None:
            raise Problem("only answers can be rated")
        return person, generation, message

    def _thanks(self, session: Session, generation: Generation, what: str = "") -> str:
        kept = sum(count_present(session).values())
        opinions = "1 opinion is" if kept == 1 else f"{kept} opinions are"
        about = version_name(generation.version_id or 0)
        return note(f"{what}Thank you. Kept with {about}'s answer; {opinions} there for the next update.", thanks=True)
