"""Whatever breaks inside of the engine, no stream is left waiting: it ends with an error, and the engine says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lm.backend import OwnEngine
from lm.engine import Engine
from lm.line import Unavailable
from lm.loading import Base
from lm.settings import EngineSettings, Sampling
from lm.stream import Completion, Stream

from .conftest import GREEDY, PROMPTS, drain, greedy_alone

LONG = Sampling(temperature=0, max_tokens=400, ignore_eos=True)


class Broken(Exception):
    """What the tests throw."""


def break_(*_: object, **__: object) -> None:
    raise Broken("it broke")


@pytest.fixture
def busy(tiny_base: Base) -> Iterator[Engine]:
    """Two slots, in an own thread."""
    engine = Engine(tiny_base, EngineSettings(slots=2))
    engine.start()
    yield engine
    engine.close()


def error_of(stream: Stream) -> BaseException:
    """What a reader of the stream meets, within ten seconds."""
    met: list[BaseException] = []

    def read() -> None:
        try:
            list(stream)
        except BaseException as error:
            met.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive(), "the reader waits for ever"
    assert met, "the stream ended well"
    return met[0]


def begin(engine: Engine) -> list[Stream]:
    """Two streams that run, read to their first piece, and two that wait for a slot."""
    streams = [engine.submit(PROMPTS[i], LONG, person=str(i)) for i in range(4)]
    for stream in streams[:2]:
        while not stream._pending:
            assert not stream.done
            time.sleep(0.001)
    return streams


def assert_dead(engine: Engine, streams: list[Stream]) -> None:
    errors = [error_of(stream) for stream in streams]
    assert all(isinstance(error, Broken | Unavailable) for error in errors), errors
    assert isinstance(engine.failure, Broken)
    assert not OwnEngine(engine).ready()
    with pytest.raises(Unavailable, match="has stopped"):
        engine.submit(PROMPTS[0], GREEDY)
    with pytest.raises(Unavailable, match="has stopped"):
        engine.generate([PROMPTS[0]], GREEDY)
    with pytest.raises(Unavailable, match="has stopped"):
        engine.likelihood([PROMPTS[0]], [[7]])
    figures = engine.figures()
    assert (figures.running, figures.waiting) == (0, 0)
    engine.close()


@pytest.mark.parametrize("place", ["clear", "move"])
def test_a_slot_that_cannot_be_freed_after_an_error_ends_every_stream(
    busy: Engine, monkeypatch: pytest.MonkeyPatch, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    streams = begin(busy)
    monkeypatch.setattr(busy._slots._cache, place, break_)
    monkeypatch.setattr(busy._slots._model, "forward", break_)
    assert_dead(busy, streams)
    assert "the engine has stopped" in caplog.text


@pytest.mark.parametrize("place", ["keep", "next_to_read"])
def test_an_error_that_strikes_no_request_ends_every_stream(
    busy: Engine, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    streams = begin(busy)
    monkeypatch.setattr(busy._slots, place, break_)
    busy.install("1", None)  # has the engine look at what it keeps
    assert_dead(busy, streams)


def test_an_error_while_requests_are_taken_loses_none_of_them(busy: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = begin(busy)
    take = busy._waiting.take
    taken: list[object] = []

    def second_breaks(*args: object) -> object:
        if taken:
            raise Broken("it broke")
        taken.append(take(*args))  # type: ignore[arg-type]
        return taken[0]

    monkeypatch.setattr(busy._waiting, "take", second_breaks)
    streams[0].cancel()
    streams[1].cancel()
    assert_dead(busy, streams[2:])
    assert all(stream.done for stream in streams)


def test_bulk_in_another_thread_hears_what_broke(busy: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[BaseException] = []

    def bulk() -> None:
        try:
            busy.generate(PROMPTS[:6], LONG)
        except BaseException as error:
            heard.append(error)

    caller = threading.Thread(target=bulk, daemon=True)
    caller.start()
    while not busy._slots.rows:
        time.sleep(0.001)
    monkeypatch.setattr(busy._slots, "next_to_read", break_)
    caller.join(10)
    assert not caller.is_alive()
    assert [type(error) for error in heard] == [Broken]


def test_without_a_thread_the_caller_gets_the_error(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = engine.submit(PROMPTS[0], GREEDY)
    monkeypatch.setattr(engine._slots, "next_to_read", break_)
    with pytest.raises(Broken):
        engine.generate(PROMPTS[:3], GREEDY)
    assert isinstance(error_of(waiting), Unavailable)
    assert not engine.step()
    engine.close()


@pytest.mark.parametrize("place", ["lm.slots.draw", "lm.slots._told"])
def test_a_sampler_that_breaks_ends_its_own_batch_alone(
    tiny_base: Base, engine: Engine, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The rows whose first token was not drawn are the ones that end, not those that would be read next."""
    running = [engine.submit(prompt, GREEDY) for prompt in PROMPTS[:2]]
    engine.step()
    with monkeypatch.context() as broken:
        struck = engine.submit(PROMPTS[3], GREEDY)
        advance = engine._slots.advance
        broken.setattr(place, break_)
        broken.setattr(engine._slots, "advance", lambda: None)
        engine.step()
    monkeypatch.setattr(engine._slots, "advance", advance)
    assert isinstance(error_of(struck), Broken)
    drain(engine)
    for prompt, stream in zip(PROMPTS, running, strict=False):
        assert stream.completion.token_ids == greedy_alone(tiny_base.model, prompt, 12)
    assert engine.failure is None


def test_a_sampler_that_always_breaks_ends_all_and_the_engine_goes_on(
    tiny_base: Base, busy: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("lm.slots.draw", break_)
        streams = [busy.submit(prompt, GREEDY) for prompt in PROMPTS[:5]]
        assert {type(error_of(stream)) for stream in streams} == {Broken}
    assert busy.failure is None
    assert busy.generate([PROMPTS[3]], GREEDY)[0].token_ids == greedy_alone(tiny_base.model, PROMPTS[3], 12)


@pytest.mark.parametrize("end", ["cancelled", "deadline", "length"])
def test_text_that_cannot_be_spelled_ends_its_own_request_alone(
    tiny_base: Base, engine: Engine, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    others = engine.submit(PROMPTS[1], GREEDY), engine.submit(PROMPTS[2], GREEDY)
    sampling = GREEDY if end == "length" else LONG
    struck = engine.submit(PROMPTS[0], sampling, deadline=0.05 if end == "deadline" else None)
    while engine.step() and not struck._pending:
        pass
    [request] = [each for each in engine._slots.rows if each.stream is struck]
    monkeypatch.setattr(request._writer, "finish", break_)
    if end == "cancelled":
        struck.cancel()
    if end == "deadline":
        time.sleep(0.06)
    drain(engine)
    assert isinstance(error_of(struck), Broken)
    for prompt, stream in zip(PROMPTS[1:], others, strict=False):
        assert stream.completion.token_ids == greedy_alone(tiny_base.model, prompt, 12)
    assert engine.figures().ended == {"failed": 1, "length": 2}


def test_what_cannot_be_remembered_ends_no_answer(
    tiny_base: Base, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeping what was read fails when the answer is whole: it stays so, and is counted once."""
    stream = engine.submit(PROMPTS[3], GREEDY)
    monkeypatch.setattr(engine._slots._prefixes, "add", break_)
    drain(engine)
    assert stream.completion.token_ids == greedy_alone(tiny_base.model, PROMPTS[3], 12)
    assert engine.figures().ended == {"length": 1}
    assert engine.failure is None


def test_a_stream_ends_once() -> None:
    ended: list[Stream] = []
    done = Completion([], [], [], "", "stop")
    well, ill = Stream("0", ended.append), Stream("0", ended.append)
    well.finish(done)
    well.fail(Broken())
    ill.fail(Broken())
    ill.finish(done)
    assert well.completion is done
    assert ill.failed
    assert ended == [well, ill]
