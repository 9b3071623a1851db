"""The tree of messages as a conversation that a person reads: the branch in view, pairs to judge, opinions given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import check_choice, check_text, find
from store.conversations import ROLES, path_to
from store.ratings import present
from store.schema import Conversation, Generation, Message, new_id

TITLE = 48  # characters of the opening message that name a conversation


@dataclass(frozen=True)
class Pair:
    """Two answers to one message, shown side by side."""

    left: Message
    right: Message


@dataclass(frozen=True)
class View:
    """A branch in view: its messages from the first on, and the pair at its end that nobody has judged yet.

    `unanswered`: it ends in a question to which no answer was recorded; one may be on its way.
    """

    path: list[Message]
    pair: Pair | None = None
    unanswered: bool = False

    @property
    def end(self) -> str | None:
        """The id of the message that the next one hangs from.

        Whoever writes on without judging a pair goes on from the left answer; whoever writes on after a question that
        was not answered asks in its place.
        """
        if self.pair is not None:
            return self.pair.left.id
        if not self.path:
            return None
        return self.path[-1].parent_id if self.unanswered else self.path[-1].id


def titles(session: Session, person_id: str, limit: int = 100) -> list[tuple[str, str]]:
    """(conversation id, title) of a person's conversations that hold a message, the last spoken in first."""
    latest = func.max(Message.created)
    rows = session.execute(
        select(Conversation.id)
        .join(Message, Message.conversation_id == Conversation.id)
        .where(Conversation.person_id == person_id)
        .group_by(Conversation.id)
        .order_by(latest.desc(), Conversation.id)
        .limit(limit)
    ).scalars()
    ids = list(rows)
    openings: dict[str, str] = {}
    for message in session.scalars(
        select(Message)
        .where(Message.conversation_id.in_(ids), Message.role == "user")
        .order_by(Message.created.desc(), Message.id)
    ):
        openings[message.conversation_id] = message.content  # the earliest is written last
    return [(each, _shorten(openings[each])) for each in ids if each in openings]


def own_message(session: Session, person_id: str, message_id: str) -> Message:
    """A message of one of this person's conversations.

    Raises:
        Problem: there is none of this id, or it is somebody else's.
    """
    message = find(session, Message, message_id)
    if message is not None:
        conversation = session.get(Conversation, message.conversation_id)
        if conversation is not None and conversation.person_id == person_id:
            return message
    raise Problem("that message is not in one of your conversations", hint="reload the page")


def pair_under(session: Session, parent_id: str) -> Pair | None:
    """The latest two answers to a message that were shown side by side."""
    rows = session.execute(
        select(Message, Generation)
        .join(Generation, Message.generation_id == Generation.id)
        .where(Message.parent_id == parent_id, Generation.pair.is_not(None), Generation.side.is_not(None))
        .order_by(Message.created.desc(), Message.id)
    ).all()
    latest = [(message, generation) for message, generation in rows if generation.pair == rows[0][1].pair]
    sides = {generation.side: message for message, generation in latest}
    return Pair(sides["left"], sides["right"]) if {"left", "right"} <= sides.keys() else None


def verdict(session: Session, person_id: str, pair: Pair) -> str | None:
    """What this person said of a pair: left, right, tie, both_bad, or None."""
    assert pair.left.generation_id is not None
    for rating in present(session, pair.left.generation_id, person_id):
        if rating.kind == "pair" and rating.other_id == pair.right.generation_id:
            return str(rating.value)
    return None


def view(session: Session, person_id: str, conversation_id: str) -> View:
    """The branch in which was spoken last in a conversation of this person; empty if it is not theirs."""
    conversation = find(session, Conversation, conversation_id)
    if conversation is None or conversation.person_id != person_id:
        return View([])
    last = session.scalars(
        select(Message)
        .where(Message.conversation_id == conversation_id, Message.role.in_(("user", "assistant")))
        .order_by(Message.created.desc(), Message.id)
        .limit(1)
    ).first()
    if last is None:
        return View([])
    if last.role == "user":
        return View(path_to(session, last.id), unanswered=True)
    pair = pair_under(session, last.parent_id) if last.parent_id else None
    if pair is None or last.id not in (pair.left.id, pair.right.id):
        return View(path_to(session, last.id))
    said = verdict(session, person_id, pair)
    if said is None:
        return View(path_to(session, pair.left.id)[:-1], pair)
    return View(path_to(session, (pair.right if said == "right" else pair.left).id))


def thumbs(session: Session, person_id: str, path: Sequence[Message]) -> list[str | None]:
    """The thumb of this person on each answer of a branch, in the words of the page: Like, Dislike or None."""
    found: list[str | None] = []
    for message in path:
        if message.role == "assistant":
            ratings = present(session, message.generation_id, person_id) if message.generation_id else []
            values = [rating.value for rating in ratings if rating.kind == "thumb"]
            found.append(None if not values else "Like" if values[0] > 0 else "Dislike")
    return found


@dataclass(frozen=True)
class Woven:
    """Messages in a conversation's tree: the id of the last one, and the ids of those that were not there before."""

    leaf: str
    added: list[str]


def weave(session: Session, conversation_id: str, messages: Sequence[dict[str, str]]) -> Woven:
    """Lay a list of messages into a conversation's tree, sharing what is already there.

    They are written at once, so that a long list holds the store as long as a short one.

    Raises:
        Problem: a role or a text that cannot be stored.
    """
    known: dict[tuple[str | None, str, str], str] = {}
    for message in session.scalars(select(Message).where(Message.conversation_id == conversation_id)):
        known.setdefault((message.parent_id, message.role, message.content), message.id)
    new: list[Message] = []
    parent: str | None = None
    for each in messages:
        place = (parent, each["role"], each["content"])
        if place not in known:
            check_choice(each["role"], ROLES, "role")
            check_text(each["content"], "content")
            known[place] = new_id()
            new.append(
                Message(
                    id=known[place],
                    conversation_id=conversation_id,
                    parent_id=parent,
                    role=each["role"],
                    content=each["content"],
                )
            )
        parent = known[place]
    assert parent is not None, "a request holds at least one message"
    session.add_all(new)
    session.flush()
    return Woven(parent, [message.id for message in new])


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…"
