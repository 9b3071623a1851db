"""People, their conversations (trees of messages) and the answers that the model gave in them.

Nothing is overwritten: a regenerated answer or an edited question is a sibling of the first one, under the same parent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import check_choice, check_short, check_text, known
from store.schema import Conversation, Generation, Message, Person, Version

ROLES = ("system", "user", "assistant", "tool")
SURFACES = ("page", "api", "import")
DRAWS = ("uniform", "thompson")


def person(session: Session, id: str | None, name: str | None = None) -> Person:
    """The person with this id, else with this name, made when new; with neither, a new nameless person.

    Raises:
        Problem: an id or name that is empty, longer than 200 characters or not storable.
    """
    if id is not None:
        check_short(id, "The person's id")
        found = session.get(Person, id)
    elif name is not None:
        check_short(name, "The person's name")
        found = session.scalar(select(Person).where(Person.name == name))
    else:
        found = None
    if found is None:
        found = Person(name=name) if id is None else Person(id=id, name=name)
        session.add(found)
        session.flush()
    return found


def person_called(session: Session, id_or_name: str) -> Person:
    """The person with this id, else with this name, made when new. Problem as of `person`."""
    check_short(id_or_name, "The person's id or name")
    either = select(Person).where((Person.id == id_or_name) | (Person.name == id_or_name))
    found = list(session.scalars(either))
    if not found:
        return person(session, None, id_or_name)
    return next((each for each in found if each.id == id_or_name), found[0])


def set_consent(session: Session, person_id: str, consent: bool) -> Person:
    """Let this person's words and ratings into datasets, or keep them out of all later ones.

    Raises:
        Problem: there is no such person, or they were erased.
    """
    found = known(session, Person, person_id, "person")
    if consent and found.erased is not None:
        raise Problem(f"{person_id} was erased.", hint="Whoever comes back is somebody new.")
    found.consent = consent
    return found


def new_conversation(session: Session, person_id: str, surface: str) -> Conversation:
    """An empty conversation of this person; `surface` is page, api or import. Problem on an unknown one."""
    known(session, Person, person_id, "person")
    check_choice(surface, SURFACES, "surface")
    conversation = Conversation(person_id=person_id, surface=surface)
    session.add(conversation)
    session.flush()
    return conversation


def conversations_of(session: Session, person_id: str) -> list[Conversation]:
    """This person's conversations, the newest first."""
    query = select(Conversation).where(Conversation.person_id == person_id)
    return list(session.scalars(query.order_by(Conversation.created.desc(), Conversation.id)))


def add_message(
    session: Session,
    conversation_id: str,
    parent_id: str | None,
    role: str,
    content: str,
    generation_id: str | None = None,
) -> Message:
    """Add a turn under `parent_id` (None: a first turn); an answer names its generation.

    Raises:
        Problem: unknown conversation, parent (or one of another conversation), generation or role; text that cannot be
            stored.
    """
    known(session, Conversation, conversation_id, "conversation")
    if parent_id is not None and known(session, Message, parent_id, "message").conversation_id != conversation_id:
        raise Problem(
            f"The message {parent_id} is part of another conversation than {conversation_id}.",
            hint="Continue the conversation that the message belongs to.",
        )
    if generation_id is not None:
        known(session, Generation, generation_id, "generation")
    check_choice(role, ROLES, "role")
    check_text(content, "content")
    message = Message(
        conversation_id=conversation_id, parent_id=parent_id, role=role, content=content, generation_id=generation_id
    )
    session.add(message)
    session.flush()
    return message


def messages_of(session: Session, conversation_id: str) -> list[Message]:
    """Every message of the conversation's tree, in the order in which they were added."""
    query = select(Message).where(Message.conversation_id == conversation_id)
    return list(session.scalars(query.order_by(Message.created, Message.id)))


def path_to(session: Session, message_id: str) -> list[Message]:
    """The turns from the first one down to this message, this message included. Problem if there is no such message."""
    known(session, Message, message_id, "message")
    # The database climbs: siblings, of which an edited question may have thousands, are not read.
    up = select(Message.id, Message.parent_id, literal(0).label("steps")).where(Message.id == message_id)
    path = up.cte("path", recursive=True)
    above = select(Message.id, Message.parent_id, path.c.steps + 1).join(path, Message.id == path.c.parent_id)
    path = path.union_all(above)
    return list(session.scalars(select(Message).join(path, Message.id == path.c.id).order_by(path.c.steps.desc())))


def record_generation(
    session: Session,
    *,
    person_id: str,
    conversation_id: str,
    messages: Sequence[Mapping[str, Any]],
    version_id: int | None,
    adapter_hash: str | None,
    sampling: Mapping[str, Any],
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    text: str,
    finish_reason: str,
    surface: str,
    latency: float,
    pair: str | None = None,
    side: str | None = None,
    propensity: float | None = None,
    draw: str | None = None,
) -> Generation:
    """Keep one answer with all that made it, so that a rating of it can be learned from later.

    Args:
        messages: exactly as sent to the model, each {role, content}.
        version_id: the version that answered; None for an answer that no version here gave (an import).
        token_ids, logprobs: of the answer, one log-probability (natural) a token, at temperature 1; no logprobs where
            they are not known.
        surface: page, api or import.
        latency: seconds from request to last token.
        pair: an id shared by the two halves of a side by side; `side` is left or right.
        propensity: the probability with which this version was chosen for this request, 0 to 1.
        draw: how the two halves of a side by side were chosen among candidates, uniform or thompson; None for an
            answer that is not one of such a pair.

    Raises:
        Problem: unknown person, conversation, version, surface, side or draw; text that cannot be stored; token_ids
            and logprobs of different lengths, or one that is infinite or no number (JSON has no such numbers).
    """
    owner = known(session, Conversation, conversation_id, "conversation").person_id
    for each in {person_id, owner}:
        if known(session, Person, each, "person").erased is not None:  # while the answer was being written
            raise Problem(f"The person {each} was erased; nothing more of theirs is kept.")
    if version_id is not None:
        known(session, Version, version_id, "version")
    check_choice(surface, SURFACES, "surface")
    if side is not None:
        check_choice(side, ("left", "right"), "side")
    if draw is not None:
        check_choice(draw, DRAWS, "draw")
    check_text([dict(each) for each in messages], "messages")
    check_text(dict(sampling), "sampling")
    check_text(text, "the answer")
    if logprobs and len(token_ids) != len(logprobs):
        raise Problem(f"An answer of {len(token_ids)} tokens came with {len(logprobs)} log-probabilities.")
    if not all(map(math.isfinite, logprobs)):
        raise Problem("An answer came with a log-probability that is no finite number.")
    generation = Generation(
        person_id=person_id,
        conversation_id=conversation_id,
        messages=[dict(each) for each in messages],
        version_id=version_id,
        adapter_hash=adapter_hash,
        sampling=dict(sampling),
        token_ids=list(token_ids),
        logprobs=list(logprobs),
        text=text,
        finish_reason=finish_reason,
        surface=surface,
        latency=latency,
        pair=pair,
        side=side,
        propensity=propensity,
        draw=draw,
    )
    session.add(generation)
    session.flush()
    return generation
