"""What a request of the API puts into the store before its answer begins, and takes out again where it is refused.

What can be checked is checked before anything is written: how many messages there are, whether the template takes them,
whether the model can read them. What can still be refused then, by a full queue for one, leaves nothing behind.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastapi import Request
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chat.history import weave
from chat.reply import Turn
from chat.service import Service
from chat.watcher import ALIAS
from chat.wire import ChatRequest
from problems import Problem
from store.checks import find
from store.conversations import new_conversation
from store.schema import Conversation, Generation, Message

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Laid:
    """What was put into the store for a request.

    Attributes:
        turns: one a choice.
        messages: ids of those that were not there before, in their order.
        conversation: id of the conversation that was begun for them; None where they continue one.
    """

    turns: list[Turn]
    messages: list[str]
    conversation: str | None


def check_count(body: ChatRequest, most: int) -> None:
    """Raise Problem where a request has more messages than `most`."""
    if len(body.messages) > most:
        raise Problem(
            f"the request has {len(body.messages)} messages, and this server takes {most} at most",
            hint="leave out the oldest: the model does not read them anyway",
        )


def lay(
    service: Service,
    body: ChatRequest,
    request: Request,
    door: str,
    messages: list[dict[str, str]],
    prompt_ids: Sequence[int],
) -> Laid:
    """Lay the request's messages, whose token ids are given, into the store, in a conversation of the caller's.

    Raises:
        Problem: the conversation that is named is not theirs, or a text cannot be stored; nothing was written.
    """
    wanted = (body.metadata or {}).get("conversation")
    with service.store.session() as session:
        person = service.doors.of_call(session, request, body.user)
        if wanted is None:
            conversation = new_conversation(session, person.id, "api")
        else:
            found = find(session, Conversation, str(wanted))
            if found is None or found.person_id != person.id:
                raise Problem(f"you have no conversation {wanted}", hint="leave metadata.conversation out to begin one")
            conversation = found
        woven = weave(session, conversation.id, messages)
        turn = Turn(
            person.id,
            conversation.id,
            woven.leaf,
            messages,
            "api",
            model=body.model or ALIAS,
            propensity=1.0,
            thinking=body.thinking,
            deadline=body.timeout,
            prompt_ids=prompt_ids,
            door=door,
        )
        begun = conversation.id if wanted is None else None
    choices = body.n or 1
    if choices != 2:
        return Laid([turn] * choices, woven.added, begun)
    pair = secrets.token_hex(8)
    turns = [replace(turn, pair=pair, side="left"), replace(turn, pair=pair, side="right")]
    return Laid(turns, woven.added, begun)


def take_back(service: Service, laid: Laid) -> None:
    """Take out of the store what `lay` put there, but for what somebody has built on meanwhile."""
    if not laid.messages:
        return
    try:
        with service.store.session() as session:
            _remove(session, laid)
    except IntegrityError:  # built on in this very moment: then it is not refused words alone any more
        log.info("messages of a refused request stay: somebody went on from them")


def _remove(session: Session, laid: Laid) -> None:
    conversation_id = laid.turns[0].conversation_id
    ours = set(laid.messages)
    tree = select(Message.id, Message.parent_id).where(Message.conversation_id == conversation_id)
    parents: dict[str, str | None] = {row[0]: row[1] for row in session.execute(tree)}
    needed: set[str | None] = set()
    for message, parent in parents.items():
        if message not in ours:
            while parent in ours and parent not in needed:
                needed.add(parent)
                parent = parents[parent]
    session.execute(delete(Message).where(Message.id.in_(ours - needed)))
    if laid.conversation is not None and not needed:
        answered = select(Generation.id).where(Generation.conversation_id == laid.conversation).limit(1)
        if session.scalar(answered) is None:
            session.execute(delete(Conversation).where(Conversation.id == laid.conversation))
