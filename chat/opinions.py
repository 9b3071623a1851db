"""What the page does with an opinion: thumbs, reasons, comment, correction, and the verdict on two answers."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
from sqlalchemy.orm import Session

from chat import people
from chat.history import own_message, pair_under, thumbs, titles, view
from chat.parts import Parts
from chat.service import Service
from chat.shown import Shown, at_store, id_of, last_id, note, show, version_name
from problems import Problem
from reward.tags import BAD, GOOD
from store.conversations import path_to, set_consent
from store.ratings import count_present, present, rate, withdraw
from store.schema import Generation, Person

VERDICTS = {"left": "the left answer", "right": "the right answer", "tie": "a tie", "both_bad": "neither answer"}

Step = dict[Any, Any]


class Opinions:
    """The page's handlers of opinions and of what is shown at its start."""

    def __init__(self, service: Service, parts: Parts) -> None:
        self.service, self.parts = service, parts

    async def thumb(self, history: list[Shown], data: gr.LikeData, request: gr.Request) -> Step:
        """A thumb up or down, or taken back; an opened panel asks for more, which nobody owes."""
        assert isinstance(data.index, int)
        try:
            return await asyncio.to_thread(self._thumb, id_of(history[data.index]), data.liked, request)
        except Problem as problem:
            said = note(f"Not kept: {problem}. {problem.hint}".strip())
            return {self.parts.chat: gr.Chatbot(feedback_value=[]), self.parts.status: said}

    async def reasons(self, chosen: list[str], message_id: str, request: gr.Request) -> Step:
        """Why: any number of tags, replaced as a whole."""
        return await at_store(self._kept, {"tags": chosen}, message_id, request)

    async def words(self, comment: str, correction: str, message_id: str, request: gr.Request) -> Step:
        """A comment, and what a better answer would be; emptied means taken back."""
        opinions = {"comment": comment.strip(), "correction": correction.strip()}
        step = await at_store(self._kept, opinions, message_id, request)
        return step | {self.parts.details: gr.Column(visible=False)}

    async def judge(self, verdict: str, history: list[Shown], request: gr.Request) -> Step:
        """The verdict on two answers; the chosen one, else the left one, goes on as the conversation."""
        return await at_store(self._judge, verdict, history, request)

    async def consent(self, given: bool, request: gr.Request) -> Step:
        """Whether this person's words and opinions, earlier ones too, may be learned from."""
        return await at_store(self._consent, given, request)

    async def start(self, request: gr.Request) -> Step:
        """What a page shows first: the conversation this person last spoke in."""
        return await at_store(self._open, None, request)

    async def open(self, conversation_id: str | None, request: gr.Request) -> Step:
        """Another conversation of this person, as they left it."""
        return await at_store(self._open, conversation_id or "", request)

    def _thumb(self, message_id: str, liked: bool | str, request: gr.Request) -> Step:
        parts = self.parts
        with self.service.store.session() as session:
            person, generation = self._subject(session, message_id, request)
            self.service.pace.step(person.id)
            on = {"generation_id": generation.id, "person_id": person.id}
            if liked == "":  # the same thumb pressed again
                if any(each.kind == "thumb" for each in present(session, generation.id, person.id)):
                    withdraw(session, **on, kind="thumb", surface="page")
                return {parts.details: gr.Column(visible=False), parts.status: note("Taken back.")}
            rate(session, **on, kind="thumb", value=1 if liked else -1, surface="page")
            self.service.metrics.rated("page", "thumb")
            said = {each.kind: each.value for each in present(session, generation.id, person.id)}
            thanks = self._thanks(session, generation)
        choices = list(GOOD if liked else BAD)
        return {
            parts.details: gr.Column(visible=True),
            parts.reasons: gr.CheckboxGroup(
                choices=choices,
                value=[tag for tag in said.get("tags", []) if tag in choices],
                label="What was good?" if liked else "What was wrong?",
            ),
            parts.comment: said.get("comment", ""),
            parts.correction: said.get("correction", ""),
            parts.rated: message_id,
            parts.status: thanks,
        }

    def _kept(self, opinions: dict[str, Any], message_id: str, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            person, generation = self._subject(session, message_id, request)
            self.service.pace.step(person.id)
            on = {"generation_id": generation.id, "person_id": person.id}
            said = {each.kind: each.value for each in present(session, generation.id, person.id)}
            for kind, value in opinions.items():
                if value and value != said.get(kind):
                    rate(session, **on, kind=kind, value=value, surface="page")
                    self.service.metrics.rated("page", kind)
                elif not value and kind in said:
                    withdraw(session, **on, kind=kind, surface="page")
            return {self.parts.status: self._thanks(session, generation)}

    def _judge(self, verdict: str, history: list[Shown], request: gr.Request) -> Step:
        parts = self.parts
        with self.service.store.session() as session:
            person = people.of_page(session, request, "rate")
            self.service.pace.step(person.id)
            asked = own_message(session, person.id, last_id(history) or "")
            pair = pair_under(session, asked.id)
            if pair is None or pair.left.generation_id is None or pair.right.generation_id is None:
                raise Problem("there are no two answers to judge", hint="reload the page")
            rate(
                session,
                generation_id=pair.left.generation_id,
                person_id=person.id,
                kind="pair",
                value=verdict,
                other=pair.right.generation_id,
                surface="page",
            )
            self.service.metrics.rated("page", "pair")
            chosen = pair.right if verdict == "right" else pair.left
            path = path_to(session, chosen.id)
            generation = session.get_one(Generation, chosen.generation_id)
            step: Step = {
                parts.chat: gr.Chatbot(value=show(path), feedback_value=thumbs(session, person.id, path)),
                parts.pair: gr.Row(visible=False),
                parts.verdict: gr.Row(visible=False),
                parts.status: self._thanks(session, generation, f"You chose {VERDICTS[verdict]}. "),
            }
        if verdict == "both_bad":
            step |= {
                parts.details: gr.Column(visible=True),
                parts.reasons: gr.CheckboxGroup(
                    choices=list(BAD), value=[], label="What was wrong with the answer above?"
                ),
                parts.comment: "",
                parts.correction: "",
                parts.rated: chosen.id,
            }
        return step

    def _consent(self, given: bool, request: gr.Request) -> Step:
        with self.service.store.session() as session:
            set_consent(session, people.of_page(session, request).id, given)
        said = "may be learned from" if given else "stay out of every later training"
        return {self.parts.status: note(f"Your chats and ratings {said}.", thanks=given)}

    def _open(self, conversation_id: str | None, request: gr.Request) -> Step:
        parts = self.parts
        with self.service.store.session() as session:
            person = people.of_page(session, request)
            named = titles(session, person.id)
            opened = named[0][0] if conversation_id is None and named else conversation_id
            seen = view(session, person.id, opened or "")
            judged = thumbs(session, person.id, seen.path)
            consent = person.consent
        return {
            parts.consent: consent,
            parts.talks: gr.Radio(choices=[(title, each) for each, title in named], value=opened or None),
            parts.chat: gr.Chatbot(value=show(seen.path), feedback_value=judged),
            parts.pair: gr.Row(visible=seen.pair is not None),
            parts.verdict: gr.Row(visible=seen.pair is not None),
            parts.left: seen.pair.left.content if seen.pair else "",
            parts.right: seen.pair.right.content if seen.pair else "",
            parts.details: gr.Column(visible=False),
            parts.status: note(f"Answers come from {version_name(self.service.watcher.serving.id)}."),
        }

    def _subject(self, session: Session, message_id: str, request: gr.Request) -> tuple[Person, Generation]:
        person = people.of_page(session, request, "rate")
        message = own_message(session, person.id, message_id)
        generation = session.get(Generation, message.generation_id) if message.generation_id else None
        if generation is None:
            raise Problem("only answers can be rated")
        return person, generation

    def _thanks(self, session: Session, generation: Generation, what: str = "") -> str:
        kept = sum(count_present(session).values())
        opinions = "1 opinion is" if kept == 1 else f"{kept} opinions are"
        about = version_name(generation.version_id or 0)
        return note(f"{what}Thank you. Kept with {about}'s answer; {opinions} there for the next update.", thanks=True)
