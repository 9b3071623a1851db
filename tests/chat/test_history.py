from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from chat.history import own_message, pair_under, thumbs, titles, view, weave
from problems import Problem
from store.conversations import add_message, messages_of, new_conversation, path_to, person, record_generation
from store.database import Store
from store.ratings import rate, withdraw


class Scene:
    """Ann's conversation, in few words."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.ann = person(session, None, "Ann").id
        self.conversation = new_conversation(session, self.ann, "page").id

    def ask(self, text: str, parent: str | None = None) -> str:
        return add_message(self.session, self.conversation, parent, "user", text).id

    def answer(self, parent: str, text: str, **pair: Any) -> tuple[str, str]:
        generation = record_generation(
            self.session,
            person_id=self.ann,
            conversation_id=self.conversation,
            messages=[{"role": "user", "content": "?"}],
            version_id=0,
            adapter_hash=None,
            sampling={},
            token_ids=[],
            logprobs=[],
            text=text,
            finish_reason="stop",
            surface="page",
            latency=0.1,
            **pair,
        ).id
        return add_message(self.session, self.conversation, parent, "assistant", text, generation).id, generation

    def sees(self) -> list[str]:
        return [each.content for each in view(self.session, self.ann, self.conversation).path]


def test_the_branch_last_spoken_in_is_seen(store: Store) -> None:
    with store.session() as session:
        scene = Scene(session)
        assert scene.sees() == []
        asked = scene.ask("One?")
        assert scene.sees() == ["One?"], "nothing that was said gets lost"
        unanswered = view(session, scene.ann, scene.conversation)
        assert (unanswered.unanswered, unanswered.end) == (True, None), "what is said next stands in its place"
        first, _ = scene.answer(asked, "1")
        scene.answer(scene.ask("Two?", first), "2")
        assert scene.sees() == ["One?", "1", "Two?", "2"]
        scene.answer(asked, "eins")
        assert scene.sees() == ["One?", "eins"], "answered again"
        scene.answer(scene.ask("Uno?"), "1!")
        assert scene.sees() == ["Uno?", "1!"], "asked differently"
        stranger = person(session, None, "Eve").id
        assert view(session, stranger, scene.conversation).path == []
        with pytest.raises(Problem):
            own_message(session, stranger, asked)


@pytest.mark.parametrize(
    ("verdict", "goes_on"), [("left", "L"), ("right", "R"), ("tie", "L"), ("both_bad", "L"), (None, None)]
)
def test_a_pair_waits_for_its_verdict(store: Store, verdict: str | None, goes_on: str | None) -> None:
    with store.session() as session:
        scene = Scene(session)
        asked = scene.ask("Which?")
        scene.answer(asked, "old left", pair="p0", side="left")
        scene.answer(asked, "old right", pair="p0", side="right")
        _, right = scene.answer(asked, "R", pair="p1", side="right")  # whichever ends first
        _, left = scene.answer(asked, "L", pair="p1", side="left")
        pair = pair_under(session, asked)
        assert pair is not None
        assert (pair.left.content, pair.right.content) == ("L", "R")
        if verdict:
            rate(
                session,
                generation_id=left,
                person_id=scene.ann,
                kind="pair",
                value=verdict,
                other=right,
                surface="page",
            )
        seen = view(session, scene.ann, scene.conversation)
        assert [each.content for each in seen.path] == ["Which?", goes_on] if goes_on else ["Which?"]
        assert (seen.pair is None) == bool(verdict)
        assert seen.end == (pair.right if verdict == "right" else pair.left).id
        scene.answer(scene.ask("More?", pair.right.id), "!")
        assert scene.sees() == ["Which?", "R", "More?", "!"], "writing on from a half goes on from it"


def test_half_a_pair_is_no_pair(store: Store) -> None:
    with store.session() as session:
        scene = Scene(session)
        asked = scene.ask("Which?")
        scene.answer(asked, "L", pair="p", side="left")
        assert pair_under(session, asked) is None
        assert scene.sees() == ["Which?", "L"]


def test_thumbs_in_the_words_of_the_page(store: Store) -> None:
    with store.session() as session:
        scene = Scene(session)
        first, one = scene.answer(scene.ask("One?"), "1")
        second, two = scene.answer(scene.ask("Two?", first), "2")
        third, three = scene.answer(scene.ask("Three?", second), "3")
        for generation, value in ((one, -1), (two, 1), (three, 1)):
            on = {"generation_id": generation, "person_id": scene.ann, "kind": "thumb"}
            rate(session, **on, value=value, surface="page")
        withdraw(session, **on)
        path = path_to(session, third)
        assert thumbs(session, scene.ann, path) == ["Dislike", "Like", None]
        assert thumbs(session, person(session, None, "Eve").id, path) == [None, None, None]


def test_titles_are_the_opening_words_last_spoken_first(store: Store) -> None:
    with store.session() as session:
        first, second = Scene(session), Scene(session)
        asked = first.ask("Where   is\nmy parcel?")
        second.ask("x" * 100)
        new_conversation(session, first.ann, "page")  # nothing was said in it
        assert [title for _, title in titles(session, first.ann)] == ["x" * 47 + "…", "Where is my parcel?"]
        first.answer(asked, "Here.")
        assert [each for each, _ in titles(session, first.ann)] == [first.conversation, second.conversation]
        assert titles(session, person(session, None, "Eve").id) == []


def test_weaving_shares_what_is_there(store: Store) -> None:
    turns = [{"role": r, "content": c} for r, c in (("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))]
    with store.session() as session:
        scene = Scene(session)
        leaf = weave(session, scene.conversation, turns).leaf
        assert weave(session, scene.conversation, turns).leaf == leaf
        assert len(messages_of(session, scene.conversation)) == 4
        other = weave(session, scene.conversation, [*turns[:3], {"role": "user", "content": "D"}]).leaf
        assert len(messages_of(session, scene.conversation)) == 5
        assert [m.content for m in path_to(session, other)] == ["S", "A", "B", "D"]
        repeated = [{"role": "user", "content": "A"}] * 3
        assert len(path_to(session, weave(session, scene.conversation, repeated).leaf)) == 3
