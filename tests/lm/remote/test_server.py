"""A server elsewhere: what it answers, what it refuses, and what becomes of a request when it misbehaves."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import Response

from lm.backend import Prompt
from lm.engine import Engine
from lm.line import Late, QueueFull, Unavailable
from lm.loading import Base
from lm.prompts import encode_chat
from lm.remote.server import Remote
from lm.settings import BackendSettings, EngineSettings, Sampling
from lm.stream import Completion, Stream
from problems import Problem

from .fake_vllm import LENGTH, MODEL, FakeVLLM, error, fake_vllm

KEY = "sk-very-secret"
LONG = Sampling(temperature=1.0, max_tokens=200, ignore_eos=True)
PLAIN = Sampling(temperature=1.0, max_tokens=200)
SHORT = Sampling(temperature=0, max_tokens=8)


def prompt(base: Base, text: str = "Where is my parcel?") -> Prompt:
    messages = [{"role": "user", "content": text}]
    return Prompt(messages, encode_chat(base, messages))


def end_of(stream: Stream) -> Completion:
    list(stream)
    return stream.completion


def until(look: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"nothing came in {seconds} s"
        time.sleep(0.01)


@pytest.fixture
def served(tiny_base: Base) -> Iterator[tuple[FakeVLLM, str]]:
    with fake_vllm(tiny_base) as it:
        yield it


@pytest.fixture
def fake(served: tuple[FakeVLLM, str]) -> FakeVLLM:
    return served[0]


@pytest.fixture
def remote(served: tuple[FakeVLLM, str], tiny_base: Base) -> Iterator[Remote]:
    it = Remote(tiny_base, BackendSettings("openai", served[1], timeout=5.0))
    it.start()
    yield it
    it.close()


def test_it_learns_the_models_name_and_how_much_it_reads(remote: Remote, fake: FakeVLLM, tiny_base: Base) -> None:
    assert remote.context == LENGTH
    assert end_of(remote.ask(prompt(tiny_base), SHORT)).text
    body = fake.heard[0]
    assert (body["model"], body["stream"], body["max_tokens"], body["temperature"]) == (MODEL, True, 8, 0)
    assert body["messages"] == [{"role": "user", "content": "Where is my parcel?"}]
    assert not {"top_k", "min_p", "stop", "seed"} & set(body), "servers refuse what they do not know"


def test_an_answer_is_text_and_what_its_text_encodes_to(remote: Remote, tiny_base: Base) -> None:
    with Engine(tiny_base, EngineSettings(slots=1, context=LENGTH)) as engine:
        own = end_of(engine.submit(prompt(tiny_base).ids, replace(SHORT, max_tokens=30)))
    stream = remote.ask(prompt(tiny_base), replace(SHORT, max_tokens=30))
    pieces = list(stream)
    done = stream.completion
    assert "".join(piece.text for piece in pieces) == done.text == own.text
    assert (done.logprobs, done.sampling_logprobs) == ([], [])
    assert done.token_ids == tiny_base.tokenizer.encode(done.text, add_special_tokens=False)
    assert done.finish_reason == own.finish_reason


def test_stop_texts_that_the_server_leaves_in_are_cut(remote: Remote, tiny_base: Base) -> None:
    whole = end_of(remote.ask(prompt(tiny_base), replace(SHORT, max_tokens=40))).text
    stop = whole[len(whole) // 2 :][:3]
    stream = remote.ask(prompt(tiny_base), replace(SHORT, max_tokens=40, stop=(stop,)))
    shown = "".join(piece.text for piece in stream)
    assert shown == stream.completion.text == whole[: whole.index(stop)]
    assert stream.completion.finish_reason == "stop"


@pytest.mark.parametrize(
    "knob", [{"top_k": 3}, {"min_p": 0.1}, {"repetition_penalty": 1.2}, {"ignore_eos": True}, {"top_logprobs": 2}]
)
def test_what_the_api_has_no_word_for_is_refused_not_dropped(
    remote: Remote, fake: FakeVLLM, tiny_base: Base, knob: dict[str, Any]
) -> None:
    with pytest.raises(Problem, match=next(iter(knob))):
        remote.ask(prompt(tiny_base), replace(SHORT, **knob))
    assert not fake.heard


def test_adapters_are_refused_and_the_base_answers_on(remote: Remote, tiny_base: Base) -> None:
    with pytest.raises(Problem, match="version 0 answers"):
        remote.load("1", Path("anywhere"))
    with pytest.raises(Problem, match="No version 1"):
        remote.ask(prompt(tiny_base), SHORT, "1")
    assert end_of(remote.ask(prompt(tiny_base), SHORT)).text


def test_leaving_early_hangs_up_on_the_server(remote: Remote, fake: FakeVLLM, tiny_base: Base) -> None:
    fake.silent = True  # only hanging up can end it
    stream = remote.ask(prompt(tiny_base), PLAIN)
    until(lambda: fake.heard)
    stream.cancel()
    done = end_of(stream)
    assert (done.finish_reason, done.text) == ("cancelled", "")
    assert fake.hung_up.wait(5)
    fake.silent = False
    stream = remote.ask(prompt(tiny_base), PLAIN)
    stream.cancel()  # at once, before anything was sent
    assert end_of(stream).finish_reason == "cancelled"
    assert remote.figures().ended == {"cancelled": 2}


async def test_leaving_an_async_loop_cancels_and_keeps_what_there_is(remote: Remote, tiny_base: Base) -> None:
    stream = remote.ask(prompt(tiny_base), replace(PLAIN, seed=4))
    pieces = aiter(stream)
    first = await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    await asyncio.to_thread(until, lambda: stream.done)
    assert stream.completion.text.startswith(first.text)


def test_a_deadline_ends_an_answer_or_says_that_none_began(remote: Remote, fake: FakeVLLM, tiny_base: Base) -> None:
    fake.silent = True
    with pytest.raises(Late, match=r"0\.2 s"):
        end_of(remote.ask(prompt(tiny_base), PLAIN, deadline=0.2))
    fake.silent = False
    step = fake.engine.step

    steps, late = itertools.count(), threading.Event()

    def stalled() -> bool:
        if next(steps) > 4:
            late.wait()  # it stands still until the deadline is past, however long that takes here
        return step()

    fake.engine.step = stalled  # type: ignore[method-assign]
    done = end_of(remote.ask(prompt(tiny_base), replace(PLAIN, seed=4), deadline=3.0))
    late.set()
    assert done.finish_reason == "deadline"
    assert done.text


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (error(429, "busy", {"Retry-After": "7"}), QueueFull, "full: busy"),
        (
            error(400, "This model's maximum context length is 300"),
            Problem,
            "refuses this request: This model's maximum",
        ),
        (error(422, "odd"), Problem, "refuses this request: odd"),
        (error(401, f"bad key {KEY}"), Unavailable, "refuses the key"),
        (error(404, "no such model"), Unavailable, "does not know the model: no such model"),
        (error(500, f"boom {KEY} " + "x" * 999), Unavailable, r"status 500: boom \*\*\* x+\.\.\.$"),
        (Response("<html>", 502, media_type="text/html"), Unavailable, r"status 502\.$"),
        (Response(status_code=307, headers={"Location": "http://elsewhere"}), Unavailable, "status 307"),
    ],
    ids=lambda value: str(value.status_code) if isinstance(value, Response) else "",
)
def test_refusals_are_told_in_the_servers_words_without_the_key(
    served: tuple[FakeVLLM, str], tiny_base: Base, answer: Response, kind: type[Problem], message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    fake, url = served
    fake.key = KEY
    remote = Remote(tiny_base, BackendSettings("openai", url + "/v1/", KEY))
    remote.start()
    fake.answer = answer
    with caplog.at_level(logging.DEBUG), pytest.raises(kind, match=message) as caught:
        end_of(remote.ask(prompt(tiny_base), SHORT))
    remote.close()
    assert type(caught.value) is not Problem or kind is Problem
    assert KEY not in f"{caught.value} {caught.value.hint} {caplog.text} {remote.settings}"
    if isinstance(caught.value, QueueFull):
        assert caught.value.wait == 7
    assert remote.figures().ended == {"failed": 1}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "broke off"),
        (b"data: [DONE]\n\n", "broke off"),
        (b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n', "broke off"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "abort"}]}\n\n', "broke off"),
        (b"data: {half\n\n", "no stream of an answer"),
        (b"data: [1]\n\n", "no stream of an answer"),
        (b"<html>\n</html>\n", "no stream of an answer"),
        (b'{"choices": []}\n', "no stream of an answer"),
        (b'data: {"choices": 3}\n\n', "no stream of an answer"),
        (b'data: {"choices": ["x"]}\n\n', "no stream of an answer"),
        (b'data: {"choices": [{"delta": {"content": 3}}]}\n\n', "no stream of an answer"),
        (b'data: {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": "x"}}\n\n', "no stream of"),
        (b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n', "failed: out of memory"),
        (b'data: {"error": "out of memory"}\n\n', "failed: out of memory"),
    ],
)
def test_a_stream_that_is_none_becomes_a_problem(
    remote: Remote, fake: FakeVLLM, tiny_base: Base, raw: bytes, message: str
) -> None:
    fake.raw = raw
    with pytest.raises(Unavailable, match=message):
        end_of(remote.ask(prompt(tiny_base), SHORT))
    fake.raw = None
    assert end_of(remote.ask(prompt(tiny_base), SHORT)).text, "and the next one is answered"


def test_a_connection_that_breaks_and_a_server_that_falls_silent(served: tuple[FakeVLLM, str], tiny_base: Base) -> None:
    fake, url = served
    remote = Remote(tiny_base, BackendSettings("openai", url, timeout=1.5))
    remote.start()
    fake.breaks = True
    with pytest.raises(Unavailable, match="broke off"):
        end_of(remote.ask(prompt(tiny_base), replace(PLAIN, seed=4)))
    fake.breaks, fake.silent = False, True
    with pytest.raises(Unavailable, match=r"silent for 1\.5 s"):
        end_of(remote.ask(prompt(tiny_base), PLAIN))
    fake.silent, fake.hangs = False, asyncio.Event()
    with pytest.raises(Unavailable, match=r"silent for 1\.5 s"):
        end_of(remote.ask(prompt(tiny_base), PLAIN))
    remote.close()


def test_a_server_that_goes_away_while_running(tiny_base: Base) -> None:
    with fake_vllm(tiny_base) as (fake, url):
        remote = Remote(tiny_base, BackendSettings("openai", url))
        assert not remote.ready(), "not started"
        remote.start()
        remote.start()
        probes, begun = fake.probes, time.monotonic()
        assert all(remote.ready() for _ in range(50))
        assert fake.probes <= probes + 1 + (time.monotonic() - begun), "asked once a second at most"
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        end_of(remote.ask(prompt(tiny_base), SHORT))
    assert "start it" in caught.value.hint.lower()
    until(lambda: not remote.ready())
    remote.close()
    remote.close()
    assert not remote.ready()
    with pytest.raises(Unavailable, match="no connection"):
        remote.ask(prompt(tiny_base), SHORT)


def test_starting_without_a_server_fails_at_once_and_says_where_it_was_sought(tiny_base: Base) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    remote = Remote(tiny_base, BackendSettings("openai", url, KEY))
    with pytest.raises(Unavailable, match=url) as caught:
        remote.start()
    assert "backend.kind = engine" in caught.value.hint
    assert KEY not in str(caught.value)


def test_starting_where_the_base_is_not_told(served: tuple[FakeVLLM, str], tiny_base: Base) -> None:
    fake, url = served
    fake.names = ["one", "two"]
    with pytest.raises(Problem, match="2 models: one, two") as caught:
        Remote(tiny_base, BackendSettings("openai", url)).start()
    assert "backend.model" in caught.value.hint
    named = Remote(tiny_base, BackendSettings("openai", url, model="two"))
    named.start()
    end_of(named.ask(prompt(tiny_base), SHORT))
    named.close()
    assert fake.heard[-1]["model"] == "two"
    fake.key = KEY
    with pytest.raises(Unavailable, match="refuses the key"):
        Remote(tiny_base, BackendSettings("openai", url, "wrong")).start()


def test_many_at_once_share_the_connections(served: tuple[FakeVLLM, str], tiny_base: Base) -> None:
    fake, url = served
    remote = Remote(tiny_base, BackendSettings("openai", url, connections=6))
    remote.start()
    streams = [
        remote.ask(prompt(tiny_base, f"Parcel {number}?"), replace(PLAIN, max_tokens=60, seed=number))
        for number in range(30)
    ]
    figures = remote.figures()
    assert figures.running + figures.waiting <= 30
    assert figures.running <= figures.slots == 6
    done = [end_of(stream) for stream in streams]
    assert all(each.finish_reason in ("stop", "length") for each in done)
    assert 1 < fake.most <= 6
    figures = remote.figures()
    assert (figures.running, figures.waiting, sum(figures.ended.values())) == (0, 0, 30)
    assert figures.generated_tokens == sum(len(each.token_ids) for each in done)
    assert figures.prompt_tokens == sum(len(prompt(tiny_base, f"Parcel {number}?").ids) for number in range(30))
    assert figures.cached_tokens == 90
    remote.close()


def test_more_than_the_connections_take_in_time_are_told_to_come_back(
    served: tuple[FakeVLLM, str], tiny_base: Base
) -> None:
    fake, url = served
    fake.hangs = asyncio.Event()
    remote = Remote(tiny_base, BackendSettings("openai", url, connections=1, timeout=1.5))
    remote.start()
    first, second = (remote.ask(prompt(tiny_base), SHORT) for _ in range(2))
    with pytest.raises((QueueFull, Unavailable)):
        end_of(second)
    with pytest.raises(Unavailable, match="silent"):
        end_of(first)
    remote.close()


def test_closing_waits_for_what_is_under_way(remote: Remote, tiny_base: Base) -> None:
    streams = [remote.ask(prompt(tiny_base), replace(PLAIN, seed=number)) for number in range(5)]
    closing = [threading.Thread(target=remote.close) for _ in range(2)]
    for each in closing:
        each.start()
    for each in closing:
        each.join(20)
    assert all(stream.done and not stream.failed for stream in streams)


@pytest.mark.parametrize("url", ["http://u:p@host", "ftp://host", "host:8000", "", "http://host?key=p", "http://h:x"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused_unseen(url: str) -> None:
    with pytest.raises(Problem, match=r"backend\.url") as caught:
        BackendSettings("vllm", url)
    assert not url or url not in f"{caught.value} {caught.value.hint}"


def test_no_repr_shows_the_key() -> None:
    settings = BackendSettings("vllm", "http://host:8000", KEY)
    assert KEY not in repr(settings)
    assert settings.key == KEY
    for wrong in ({"timeout": 0.0}, {"timeout": float("nan")}, {"connections": 0}, {"key": "a\nb"}):
        with pytest.raises(Problem, match=next(iter(wrong))):
            replace(settings, **wrong)  # type: ignore[arg-type]
