"""The engine against the model on its own: same tokens, same probabilities, whoever joins, leaves, swaps or fails."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lm.engine import Engine
from lm.line import Late, QueueFull
from lm.loading import Base
from lm.settings import EngineSettings, Sampling
from problems import Problem

from .conftest import GREEDY, PROMPTS, MakeAdapter, drain, greedy_alone

pytestmark = pytest.mark.usefixtures("widths")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def test_greedy_equals_the_model_alone(tiny_base: Base, engine: Engine) -> None:
    completions = engine.generate(PROMPTS, GREEDY)
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        assert completion.token_ids == greedy_alone(tiny_base.model, prompt, 12)
        assert completion.finish_reason == "length"


def test_seeded_answers_do_not_depend_on_who_joins_and_leaves(tiny_base: Base, engine: Engine) -> None:
    samplings = [
        Sampling(temperature=(0.7, 1.0, 1.5)[i % 3], top_p=(1.0, 0.8)[i % 2], max_tokens=3 + 4 * i, seed=100 + i)
        for i in range(len(PROMPTS))
    ]
    alone = [engine.generate([p], s)[0] for p, s in zip(PROMPTS, samplings, strict=True)]
    streams = []
    for prompt, sampling in zip(PROMPTS, samplings, strict=True):
        streams.append(engine.submit(prompt, sampling))
        engine.step()
        engine.step()
    drain(engine)
    for stream, expected in zip(streams, alone, strict=True):
        assert stream.completion.token_ids == expected.token_ids
        assert stream.completion.text == expected.text
        assert stream.completion.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_without_a_seed_answers_differ(engine: Engine) -> None:
    completions = engine.generate([PROMPTS[3]] * 4, Sampling(temperature=1.5, max_tokens=16, ignore_eos=True))
    assert len({tuple(completion.token_ids) for completion in completions}) == 4


def test_the_end_token_ends_and_is_kept(tiny_base: Base, engine: Engine, seed: int) -> None:
    end = next(iter(tiny_base.eos_ids))
    # One token in 320 ends an answer: 400 tokens have none in 3 draws of 10, 25 draws in a row in one of 10^13.
    for draw in range(seed, seed + 25):
        completion = engine.generate([PROMPTS[4]], Sampling(temperature=3.0, max_tokens=400, seed=draw))[0]
        if completion.finish_reason == "stop":
            break
    assert completion.finish_reason == "stop"
    assert completion.token_ids.index(end) == len(completion.token_ids) - 1
    assert len(completion.logprobs) == len(completion.sampling_logprobs) == len(completion.token_ids)
    assert completion.text == tiny_base.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
    longer = engine.generate([PROMPTS[4]], Sampling(temperature=3.0, max_tokens=400, seed=draw, ignore_eos=True))[0]
    assert longer.finish_reason == "length"
    assert len(longer.token_ids) == 400
    assert longer.token_ids[: len(completion.token_ids)] == completion.token_ids


def test_a_stop_text_ends_the_answer_before_it(engine: Engine) -> None:
    whole = engine.generate([PROMPTS[5]], GREEDY)[0]
    stop = whole.text[6:9]
    for live in (True, False):
        if live:
            stream = engine.submit(PROMPTS[5], Sampling(temperature=0, stop=(stop, "never said"), ignore_eos=True))
            drain(engine)
            completion, streamed = stream.completion, "".join(delta.text for delta in stream)
            assert streamed == completion.text
        else:
            completion = engine.generate([PROMPTS[5]], Sampling(temperature=0, stop=(stop,), ignore_eos=True))[0]
        assert completion.text == whole.text[: whole.text.index(stop)]
        assert completion.finish_reason == "stop"
        assert completion.token_ids == whole.token_ids[: len(completion.token_ids)]


def test_a_stream_carries_everything_once(engine: Engine) -> None:
    stream = engine.submit(PROMPTS[1], Sampling(temperature=2.0, max_tokens=40, seed=3, ignore_eos=True))
    pieces = []
    while not stream.done:
        engine.step()
        pieces += stream._pending
        stream._pending = []
    completion = stream.completion
    assert "".join(piece.text for piece in pieces) == completion.text
    assert [token for piece in pieces for token in piece.token_ids] == completion.token_ids
    assert [logprob for piece in pieces for logprob in piece.logprobs] == completion.logprobs


def test_the_context_ends_an_answer(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=2, context=50))
    completions = engine.generate([PROMPTS[3], PROMPTS[0]], Sampling(temperature=0, max_tokens=500, ignore_eos=True))
    assert [len(completion.token_ids) for completion in completions] == [10, 49]
    assert {completion.finish_reason for completion in completions} == {"length"}
    assert completions[0].token_ids == greedy_alone(tiny_base.model, PROMPTS[3], 10)


def test_prompts_that_cannot_be_answered(engine: Engine) -> None:
    with pytest.raises(Problem, match="together have 512"):
        engine.submit([5] * 512, GREEDY)
    with pytest.raises(Problem, match="empty"):
        engine.submit([], GREEDY)
    with pytest.raises(Problem, match="does not know"):
        engine.submit([5, 320], GREEDY)
    with pytest.raises(Problem, match="No version 9"):
        engine.submit([5], GREEDY, "9")
    assert not engine.step(), "nothing was queued"


def test_a_full_queue(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=1, queue=4))
    streams = [engine.submit(PROMPTS[0], GREEDY) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 of your requests and 2 in all wait") as refused:
        engine.submit(PROMPTS[0], GREEDY)
    assert refused.value.wait >= 1
    streams.append(engine.submit(PROMPTS[0], GREEDY, person="somebody else"))
    engine.step()  # one takes the slot
    streams.append(engine.submit(PROMPTS[0], GREEDY))
    drain(engine)
    assert len({tuple(stream.completion.token_ids) for stream in streams}) == 1


def test_people_take_turns(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=1))
    many = [engine.submit(prompt, GREEDY, person="many") for prompt in PROMPTS[:4]]
    one = engine.submit(PROMPTS[4], GREEDY, person="one")
    while not one.done:
        engine.step()
    assert [stream.done for stream in many] == [True, False, False, False]
    drain(engine)


def test_late_requests_end(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr("lm.engine.time", SimpleNamespace(monotonic=lambda: clock))
    engine = Engine(tiny_base, EngineSettings(slots=1, deadline=60))
    running = engine.submit(PROMPTS[0], GREEDY, deadline=2)
    engine.step()
    waiting = engine.submit(PROMPTS[1], GREEDY, deadline=1)
    patient = engine.submit(PROMPTS[2], GREEDY, deadline=1000)
    engine.step()
    clock += 3
    engine.step()
    clock += 50
    drain(engine)
    assert running.completion.finish_reason == "deadline"
    assert 1 <= len(running.completion.token_ids) < 12
    with pytest.raises(Late, match="before its turn"):
        _ = waiting.completion
    assert patient.completion.finish_reason == "length"
    assert engine.figures().ended == {"deadline": 1, "failed": 1, "length": 1}


def test_cancelling_frees_the_slot_at_the_next_step(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=1))
    first, waiting, last = (engine.submit(prompt, GREEDY) for prompt in (PROMPTS[0], PROMPTS[1], PROMPTS[2]))
    engine.step()
    first.cancel()
    waiting.cancel()
    engine.step()
    assert first.completion.finish_reason == waiting.completion.finish_reason == "cancelled"
    assert (
        first.completion.token_ids == greedy_alone(tiny_base.model, PROMPTS[0], 12)[: len(first.completion.token_ids)]
    )
    assert waiting.completion.token_ids == []
    drain(engine)
    assert last.completion.token_ids == greedy_alone(tiny_base.model, PROMPTS[2], 12)


def test_an_error_fails_its_own_request_alone(tiny_base: Base, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [engine.submit(prompt, GREEDY) for prompt in PROMPTS[:3]]
    engine.step()
    struck = engine._slots.rows[1]

    def fail(*_: object) -> bool:
        raise ArithmeticError("one request broke")

    monkeypatch.setattr(struck, "accept", fail)
    drain(engine)
    with pytest.raises(ArithmeticError, match="one request broke"):
        _ = streams[1].completion
    for index in (0, 2):
        assert streams[index].completion.token_ids == greedy_alone(tiny_base.model, PROMPTS[index], 12)


def test_an_error_in_the_model_fails_the_batch_and_the_engine_goes_on(
    tiny_base: Base, running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = running._slots._model.forward

    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(running._slots._model, "forward", fail)
    stream = running.submit(PROMPTS[3], GREEDY)
    with pytest.raises(MemoryError, match="no room"):
        list(stream)
    monkeypatch.setattr(running._slots._model, "forward", forward)
    completion = running.generate([PROMPTS[3]], GREEDY)[0]
    assert completion.token_ids == greedy_alone(tiny_base.model, PROMPTS[3], 12)


def test_blocking_streams_of_an_own_thread(tiny_base: Base, running: Engine) -> None:
    streams = [running.submit(prompt, GREEDY) for prompt in PROMPTS]
    for prompt, stream in zip(PROMPTS, streams, strict=True):
        assert [t for delta in stream for t in delta.token_ids] == greedy_alone(tiny_base.model, prompt, 12)


async def test_async_streams(tiny_base: Base, running: Engine) -> None:
    async def read(prompt: list[int]) -> list[int]:
        return [token async for delta in running.submit(prompt, GREEDY) for token in delta.token_ids]

    answers = await asyncio.gather(*map(read, PROMPTS))
    assert answers == [greedy_alone(tiny_base.model, prompt, 12) for prompt in PROMPTS]


async def test_a_reader_that_goes_away_frees_the_slot(running: Engine) -> None:
    endless = Sampling(max_tokens=480, ignore_eos=True)
    stream = running.submit(PROMPTS[0], endless)
    reader = aiter(stream)
    await anext(reader)
    await reader.aclose()  # type: ignore[attr-defined]
    await asyncio.to_thread(until, lambda: stream.done)
    assert stream.completion.finish_reason == "cancelled"


def test_prompts_in_bulk_leave_room_for_streams(running: Engine) -> None:
    done = threading.Event()

    def bulk() -> None:
        running.generate([PROMPTS[0]] * 8, Sampling(max_tokens=400, ignore_eos=True))
        done.set()

    worker = threading.Thread(target=bulk)
    worker.start()
    until(lambda: len(running._slots.rows) == 3)
    list(running.submit(PROMPTS[1], GREEDY))
    assert not done.is_set(), "the stream did not wait for the bulk"
    worker.join()


def test_many_callers_at_once(tiny_base: Base, running: Engine, make_adapter: MakeAdapter) -> None:
    expected = [greedy_alone(tiny_base.model, prompt, 12) for prompt in PROMPTS]
    wrong: list[str] = []

    def call(caller: int) -> None:
        draws = random.Random(caller)
        for turn in range(12):
            index = draws.randrange(len(PROMPTS))
            if draws.random() < 0.2:
                running.install(f"{caller}-{turn}", make_adapter(seed=turn))
                stream = running.submit(PROMPTS[index], GREEDY, f"{caller}-{turn}")
                running.remove(f"{caller}-{turn}")
                list(stream)
                continue
            stream = running.submit(PROMPTS[index], GREEDY)
            if draws.random() < 0.3:
                stream.cancel()
            tokens = [token for delta in stream for token in delta.token_ids]
            if tokens != expected[index][: len(tokens)] or (len(tokens) < 12) != (
                stream.completion.finish_reason == "cancelled"
            ):
                wrong.append(f"{caller} {turn} {tokens}")

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert wrong == []
    assert running.versions() == ["0"]


def test_progress_counts_every_answer(engine: Engine) -> None:
    heard: list[int] = []
    engine.generate(PROMPTS, Sampling(max_tokens=3), progress=heard.append)
    assert heard == list(range(1, len(PROMPTS) + 1))
    assert engine.generate([], GREEDY) == []


def test_a_sampling_for_each_prompt(engine: Engine) -> None:
    each = [Sampling(temperature=0, max_tokens=count, ignore_eos=True) for count in (1, 2, 3)]
    assert [len(c.token_ids) for c in engine.generate(PROMPTS[:3], each)] == [1, 2, 3]
    with pytest.raises(ValueError, match="longer"):
        engine.generate(PROMPTS[:2], each)


def test_an_interrupted_bulk_lets_go_of_its_slots(engine: Engine) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(PROMPTS, GREEDY, progress=interrupt)
    engine.step()
    assert not engine.step()


def test_closing_drains_and_then_refuses(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=1))
    engine.start()
    streams = [engine.submit(prompt, GREEDY) for prompt in PROMPTS[:3]]
    engine.close()
    assert [len(stream.completion.token_ids) for stream in streams] == [12, 12, 12]
    with pytest.raises(Problem, match="closed"):
        engine.submit(PROMPTS[0], GREEDY)
