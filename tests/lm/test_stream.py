"""The caller's handle: blocking and asynchronous reading, leaving early, errors."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lm.stream import Completion, Delta, Stream


def word(text: str) -> Delta:
    return Delta(text, [len(text)], [-1.0])


DONE = Completion([1, 2], [-1.0, -1.0], [-1.0, -1.0], "ab", "stop")


def test_a_slow_reader_gets_several_pieces_as_one() -> None:
    stream = Stream("0")
    for text in ("a", "bc"):
        stream.push(word(text))
    stream.finish(DONE)
    assert list(stream) == [Delta("abc", [1, 2], [-1.0, -1.0])]
    assert stream.completion is DONE


def test_blocking_reader_wakes_for_each_piece() -> None:
    stream, read, seen = Stream("0"), threading.Semaphore(0), []

    def consume() -> None:
        for delta in stream:
            seen.append(delta.text)
            read.release()

    consumer = threading.Thread(target=consume)
    consumer.start()
    for text in ("a", "b", "c"):
        stream.push(word(text))
        assert read.acquire(timeout=10)
    stream.finish(DONE)
    consumer.join(10)
    assert seen == ["a", "b", "c"]


async def test_async_reader_wakes_for_each_piece() -> None:
    stream, seen = Stream("0"), []

    def produce() -> None:
        for text in ("a", "b", "c"):
            stream.push(word(text))
        stream.finish(DONE)

    timer = threading.Timer(0.02, produce)
    timer.start()
    async with asyncio.timeout(10):
        async for delta in stream:
            seen.append(delta.text)
    assert "".join(seen) == "abc"


def test_leaving_a_blocking_loop_cancels() -> None:
    stream = Stream("0")
    stream.push(word("a"))
    for _ in stream:
        break
    assert stream.cancelled


async def test_closing_an_async_reader_cancels() -> None:
    stream = Stream("0")
    stream.push(word("a"))
    reader = aiter(stream)
    await anext(reader)
    assert not stream.cancelled
    await reader.aclose()  # type: ignore[attr-defined]
    assert stream.cancelled


async def test_leaving_an_async_loop_cancels() -> None:
    stream = Stream("0")
    stream.push(word("a"))
    async for _ in stream:
        break
    for _ in range(3):  # the event loop closes what was left behind
        await asyncio.sleep(0)
    assert stream.cancelled


async def test_a_cancelled_task_cancels_the_request() -> None:
    stream = Stream("0")

    async def consume() -> None:
        async for _ in stream:
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.cancelled
    stream.push(word("a"))  # the engine does not know yet; nothing may break


def test_a_closed_event_loop_cancels() -> None:
    stream = Stream("0")

    async def begin() -> None:
        asyncio.get_running_loop()
        stream._waiter = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    asyncio.run(begin())
    stream.push(word("a"))
    assert stream.cancelled


def test_the_engines_error_reaches_the_reader() -> None:
    stream = Stream("0")
    stream.push(word("a"))
    stream.fail(ArithmeticError("lost"))
    pieces = iter(stream)
    assert next(pieces).text == "a", "what came before the error is still read"
    with pytest.raises(ArithmeticError, match="lost"):
        next(pieces)
    with pytest.raises(ArithmeticError):
        _ = stream.completion


def test_no_completion_before_the_end() -> None:
    with pytest.raises(RuntimeError, match="not ended"):
        _ = Stream("0").completion


async def test_a_fast_stream_wakes_its_reader_now_and_then() -> None:
    stream = Stream("0", interval=30.0)
    pieces = aiter(stream)
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    stream.push(Delta("a", [1], [-1.0]))  # the first one at once
    assert (await waiting).text == "a"
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    for text in "bc":
        stream.push(Delta(text, [2], [-1.0]))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    stream.push(Delta("d", [3], [-1.0]))
    stream.finish(Completion([1, 2, 2, 3], [-1.0] * 4, [-1.0] * 4, "abcd", "stop"))  # the end wakes as well
    last = await waiting
    assert (last.text, last.token_ids) == ("bcd", [2, 2, 3])
    assert [piece async for piece in pieces] == []
