from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chat.history import weave
from chat.pace import Pace
from chat.service import Service, TooLong, Turn
from chat.watcher import Watcher
from lm.backend import OwnEngine
from lm.engine import Engine
from lm.loading import Base
from lm.prompts import encode_chat
from lm.settings import Sampling
from store.conversations import messages_of, new_conversation, person
from store.database import Store
from store.schema import Generation

ASK = [{"role": "user", "content": "Where is my parcel?"}]
LONG = Sampling(temperature=1.0, max_tokens=480, ignore_eos=True)


@pytest.fixture
async def service(store: Store, engine: Engine, tiny_base: Base) -> AsyncIterator[Service]:
    watcher = Watcher(store, OwnEngine(engine))
    watcher.first_look()
    it = Service(store, tiny_base, watcher, Sampling(), engine.context, Pace(0))
    yield it
    await it.drain()


@pytest.fixture
def turn(store: Store) -> Turn:
    with store.session() as session:
        ann = person(session, None, "Ann").id
        conversation = new_conversation(session, ann, "page").id
        return Turn(ann, conversation, weave(session, conversation, ASK), ASK, "page")


async def test_pieces_add_up_to_what_is_recorded(service: Service, turn: Turn) -> None:
    reply = await service.begin(turn, Sampling(temperature=1.0, max_tokens=20, seed=1))
    ids = [token async for piece in reply for token in piece.token_ids]
    answer = await reply.answer
    assert answer.generation_id == reply.generation_id
    with service.store.session() as session:
        kept = session.get_one(Generation, answer.generation_id)
        said = messages_of(session, turn.conversation_id)[-1]
    assert kept.token_ids == ids
    assert (said.id, said.content, said.generation_id) == (answer.message_id, kept.text, kept.id)
    assert said.parent_id == turn.parent_id


async def test_an_answer_nobody_reads_is_recorded(service: Service, turn: Turn) -> None:
    reply = await service.begin(turn, Sampling(max_tokens=5, ignore_eos=True))
    answer = await reply.answer
    assert answer.completion.finish_reason == "length"


async def test_leaving_early_cancels_and_keeps_what_there_is(service: Service, turn: Turn) -> None:
    reply = await service.begin(turn, LONG)
    pieces = aiter(reply)
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    answer = await reply.answer
    with service.store.session() as session:
        kept = session.get_one(Generation, answer.generation_id)
    assert kept.finish_reason == "cancelled"
    assert 0 < len(kept.token_ids) < 480


async def test_shutting_down_records_what_is_under_way(service: Service, turn: Turn) -> None:
    replies = [await service.begin(turn, LONG) for _ in range(3)]
    await service.drain()
    with service.store.session() as session:
        for reply in replies:
            assert session.get_one(Generation, reply.generation_id).finish_reason == "cancelled"


async def test_an_answer_takes_no_more_than_the_context(service: Service, turn: Turn) -> None:
    messages = [{"role": "user", "content": "Where is my parcel? " * 30}]
    used = len(encode_chat(service.base, messages))
    reply = await service.begin(replace(turn, messages=messages), LONG)
    answer = await reply.answer
    assert len(answer.completion.token_ids) == min(480, service.context - used)
    with pytest.raises(TooLong, match=str(service.context)):
        await service.begin(replace(turn, messages=[{"role": "user", "content": "Where? " * 999}]), LONG)


def test_fitting_drops_the_oldest_turns_but_never_system_or_last(service: Service) -> None:
    system = {"role": "system", "content": "Be brief."}
    talk = [{"role": role, "content": f"{number} " * 20} for number in range(12) for role in ("user", "assistant")]
    messages = [system, *talk, *ASK]
    kept = service.fit(messages, Sampling(max_tokens=100))
    assert kept[0] == system
    assert kept[1]["role"] == "user", "a conversation opens with a question"
    assert kept[1:] == messages[-len(kept) + 1 :]
    assert len(kept) > 3
    assert len(encode_chat(service.base, kept)) <= service.context - 100
    assert service.fit(ASK, Sampling()) == ASK
    hopeless = [system, {"role": "user", "content": "Where? " * 999}]
    assert service.fit(hopeless, Sampling()) == hopeless, "left for `begin` to refuse"
