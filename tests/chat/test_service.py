from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import select

from chat.history import weave
from chat.pace import Pace
from chat.reply import Turn
from chat.service import Service, TooLong
from chat.watcher import Watcher
from lm.backend import OwnEngine
from lm.engine import Engine
from lm.line import QueueFull, Unavailable
from lm.loading import Base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from problems import Problem
from reward.exploration import Drawn
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
        return Turn(ann, conversation, weave(session, conversation, ASK).leaf, ASK, "page")


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


SIX = [Sampling(temperature=1.0, max_tokens=8, seed=seed, ignore_eos=True) for seed in range(6)]


class Chooser:
    """Draws what it is told to, and keeps what it was asked."""

    def __init__(self, drawn: Drawn | None) -> None:
        self.drawn = drawn
        self.asked: list[tuple[list[dict[str, str]], list[str]]] = []

    async def __call__(self, messages: list[dict[str, str]], answers: list[str]) -> Drawn | None:
        self.asked.append((messages, answers))
        return self.drawn


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the two on the left."""
    monkeypatch.setattr("chat.service.random.shuffle", lambda items: None)


def kept(service: Service, turn: Turn) -> list[Generation]:
    """What the store holds of the conversation's answers, the left one first; each hangs in the tree."""
    with service.store.session() as session:
        rows = list(session.scalars(select(Generation).where(Generation.person_id == turn.person_id)))
        said = [each for each in messages_of(session, turn.conversation_id) if each.role == "assistant"]
    assert {each.generation_id for each in said} == {each.id for each in rows}
    assert {each.parent_id for each in said} <= {turn.parent_id}
    return sorted(rows, key=lambda row: str(row.side))


@pytest.mark.usefixtures("straight")
async def test_of_several_answers_the_two_chosen_are_recorded(service: Service, turn: Turn) -> None:
    choose = Chooser(Drawn(1, 4, "thompson", 0.25))
    comparison = await service.compare(turn, SIX, choose)
    left, right = await comparison.answers
    assert comparison.written == 6
    assert (left.text, right.text) == (choose.asked[0][1][1], choose.asked[0][1][4])
    assert choose.asked[0][0] == ASK
    rows = kept(service, turn)
    assert [row.id for row in rows] == [left.generation_id, right.generation_id]
    assert [row.sampling["seed"] for row in rows] == [1, 4]
    assert [row.side for row in rows] == ["left", "right"]
    assert rows[0].pair == rows[1].pair is not None
    assert {(row.draw, row.propensity) for row in rows} == {("thompson", 0.25)}
    assert service.under_way == 0


async def test_either_may_stand_on_either_side(service: Service, turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.service.random.shuffle", list.reverse)
    comparison = await service.compare(turn, SIX, Chooser(Drawn(1, 4, "uniform", 0.1)))
    await comparison.answers
    assert [row.sampling["seed"] for row in kept(service, turn)] == [4, 1]


@pytest.mark.usefixtures("straight")
async def test_equal_answers_are_one_candidate(service: Service, turn: Turn) -> None:
    choose = Chooser(Drawn(0, 1, "uniform", 1.0))
    comparison = await service.compare(turn, [SIX[0], SIX[0], SIX[1], SIX[0]], choose)
    await comparison.answers
    assert len(choose.asked[0][1]) == 2
    assert [row.sampling["seed"] for row in kept(service, turn)] == [0, 1]


async def test_where_all_are_equal_there_is_one_answer(service: Service, turn: Turn) -> None:
    choose = Chooser(Drawn(0, 0, "uniform", 1.0))
    comparison = await service.compare(turn, [Sampling(temperature=0.0, max_tokens=8)] * 4, choose)
    [answer] = await comparison.answers
    assert choose.asked == []
    [row] = kept(service, turn)
    assert row.id == answer.generation_id
    assert (row.pair, row.side, row.draw, row.propensity) == (None, None, None, 1.0)


@pytest.mark.usefixtures("straight")
async def test_where_nothing_is_chosen_the_first_two_are_shown(service: Service, turn: Turn) -> None:
    comparison = await service.compare(turn, SIX, Chooser(None))
    await comparison.answers
    rows = kept(service, turn)
    assert [row.sampling["seed"] for row in rows] == [0, 1]
    assert {(row.draw, row.propensity) for row in rows} == {(None, 1.0)}


@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("how", ["stopped", "drained"])
async def test_a_comparison_cut_short_keeps_the_first_two(service: Service, turn: Turn, how: str) -> None:
    choose = Chooser(Drawn(2, 3, "thompson", 0.5))
    comparison = await service.compare(turn, [SIX[2], *[replace(LONG, seed=seed) for seed in range(3)]], choose)
    while comparison.written < 1 or not comparison.drafts[1].pieces.text:
        await asyncio.sleep(0.001)
    if how == "stopped":
        comparison.cancel()
    else:
        await service.drain()
        assert comparison.answers.done()
    await comparison.answers
    rows = kept(service, turn)
    assert [row.finish_reason for row in rows] == ["length", "cancelled"]
    assert {(row.draw, row.propensity) for row in rows} == {(None, 1.0)}
    assert choose.asked == []


@pytest.mark.usefixtures("straight")
async def test_what_cannot_be_written_is_left_out(service: Service, turn: Turn) -> None:
    choose = Chooser(Drawn(0, 1, "uniform", 1.0))
    comparison = await service.compare(turn, [LONG, SIX[1], LONG, SIX[3]], choose)
    for number in (0, 2):
        comparison.drafts[number].stream.fail(Problem("not this one"))
    await comparison.answers
    assert [row.sampling["seed"] for row in kept(service, turn)] == [1, 3]


async def test_one_answer_is_no_comparison(service: Service, turn: Turn, caplog: pytest.LogCaptureFixture) -> None:
    comparison = await service.compare(turn, [SIX[0], LONG, LONG], Chooser(None))
    for draft in comparison.drafts[1:]:
        draft.stream.fail(Unavailable("not this one"))
    with pytest.raises(Unavailable, match="not this one"):
        await comparison.answers
    assert kept(service, turn) == []
    assert service.under_way == 0
    [record] = caplog.records
    assert "was not made: not this one" in record.getMessage()


SIDES = {"pair": "p", "propensity": 0.5}


def beside(turn: Turn, left: str = "ratchet", right: str = "ratchet") -> tuple[Turn, Turn]:
    return (
        replace(turn, model=left, side="left", **SIDES),  # type: ignore[arg-type]
        replace(turn, model=right, side="right", **SIDES),  # type: ignore[arg-type]
    )


async def test_two_answers_side_by_side_are_recorded_each_on_its_side(service: Service, turn: Turn) -> None:
    both = await service.beside(beside(turn), SIX[:2])
    left, right = await both.answers
    rows = kept(service, turn)
    assert [(row.id, row.text, row.side) for row in rows] == [
        (left.generation_id, left.text, "left"),
        (right.generation_id, right.text, "right"),
    ]
    assert {(row.pair, row.propensity) for row in rows} == {("p", 0.5)}
    assert (both.redrawn, service.under_way) == (0, 0)


async def test_the_right_one_is_drawn_again_where_both_are_the_same(service: Service, turn: Turn) -> None:
    both = await service.beside(beside(turn), [SIX[1], SIX[1]])
    left, right = await both.answers
    assert left.text != right.text
    assert both.redrawn == 1
    assert [row.sampling["seed"] for row in kept(service, turn)] == [1, 2]


@pytest.mark.parametrize(
    ("sampling", "redrawn"),
    [(Sampling(temperature=1.0, top_k=1, max_tokens=8), 2), (Sampling(temperature=0.0, max_tokens=8), 0)],
)
async def test_where_both_stay_the_same_one_answer_is_recorded(
    service: Service, turn: Turn, sampling: Sampling, redrawn: int
) -> None:
    both = await service.beside(beside(turn), [sampling, sampling])
    [answer] = await both.answers
    assert both.redrawn == redrawn
    [row] = kept(service, turn)
    assert (row.id, row.text) == (answer.generation_id, answer.text)
    assert (row.pair, row.side, row.draw, row.propensity) == (None, None, None, 1.0)


async def test_where_one_of_two_fails_the_other_is_the_answer(service: Service, turn: Turn) -> None:
    both = await service.beside(beside(turn), [LONG, SIX[0]])
    both.drafts[0].stream.fail(Problem("not this one"))
    [answer] = await both.answers
    [row] = kept(service, turn)
    assert (row.id, row.pair, row.side) == (answer.generation_id, None, None)


async def test_two_answers_stopped_at_once_are_recorded(service: Service, turn: Turn) -> None:
    both = await service.beside(beside(turn), [LONG, replace(LONG, seed=7)])
    both.cancel()
    answers = await both.answers
    assert both.redrawn == 0, "nobody waits for another one"
    assert [row.id for row in kept(service, turn)] == [each.generation_id for each in answers]


async def test_if_one_answer_is_refused_none_goes_on(store: Store, tiny_base: Base, turn: Turn) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=8, context=512, queue=8))  # not started: all of them wait
    watcher = Watcher(store, OwnEngine(engine))
    crowded = Service(store, tiny_base, watcher, Sampling(), engine.context, Pace(0))
    with pytest.raises(QueueFull, match="4 of your requests"):  # each answer counts: half of the places are taken
        await crowded.compare(turn, SIX, Chooser(None))
    engine.step()
    assert engine.figures().waiting == 0
    assert engine.figures().ended == {"cancelled": 4}
