"""vLLM: the same tokens as this process's engine would draw, and versions that come and go while it runs."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lm.adapters import read_adapter, write_adapter
from lm.engine import Engine
from lm.line import Unavailable
from lm.loading import Base
from lm.remote.vllm import VLLM
from lm.settings import BackendSettings, EngineSettings, Sampling
from problems import Problem

from ..conftest import MakeAdapter
from .fake_vllm import LENGTH, FakeVLLM, fake_vllm
from .test_server import end_of, prompt, until

GREEDY = Sampling(temperature=0, max_tokens=16, ignore_eos=True)


@pytest.fixture
def fake(tiny_base: Base) -> Iterator[FakeVLLM]:
    with fake_vllm(tiny_base) as (it, _):
        yield it


@pytest.fixture
def home(tmp_path: Path, tiny_base: Base, make_adapter: MakeAdapter) -> Path:
    """A home with three adapters."""
    for number in (1, 2, 3):
        write_adapter(tmp_path / f"updates/{number}/train/adapter", make_adapter(seed=number), tiny_base)
    return tmp_path


def adapter(home: Path, number: int) -> Path:
    return home / f"updates/{number}/train/adapter"


@pytest.fixture
def vllm(fake: FakeVLLM, tiny_base: Base, home: Path) -> Iterator[VLLM]:
    it = VLLM(tiny_base, BackendSettings("vllm", fake.url, timeout=5.0), home)
    it.start()
    yield it
    it.close()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, max_tokens=40, seed=5),
        Sampling(temperature=0.7, top_p=0.9, top_k=20, min_p=0.01, repetition_penalty=1.1, max_tokens=30, seed=6),
        Sampling(temperature=0, max_tokens=30, ignore_eos=True, top_logprobs=3),
        Sampling(temperature=1.0, max_tokens=80, stop=("e", "a"), seed=7),
    ],
)
def test_token_for_token_what_the_own_engine_says(vllm: VLLM, tiny_base: Base, sampling: Sampling) -> None:
    asked = prompt(tiny_base)
    with Engine(tiny_base, EngineSettings(slots=2, context=LENGTH)) as engine:
        own = end_of(engine.submit(asked.ids, sampling))
    stream = vllm.ask(asked, sampling)
    pieces = list(stream)
    done = stream.completion
    assert (done.token_ids, done.text, done.finish_reason) == (own.token_ids, own.text, own.finish_reason)
    assert done.logprobs == pytest.approx(own.logprobs, abs=1e-4)
    assert done.sampling_logprobs == []
    assert [token for piece in pieces for token in piece.token_ids] == own.token_ids
    assert "".join(piece.text for piece in pieces) == own.text
    assert [len(piece.logprobs) for piece in pieces] == [len(piece.token_ids) for piece in pieces]
    if sampling.top_logprobs:
        assert [[token for token, _ in each] for each in done.top_logprobs] == [
            [token for token, _ in each] for each in own.top_logprobs
        ]


def test_every_parameter_is_said_so_that_the_servers_defaults_are_not_used(
    vllm: VLLM, fake: FakeVLLM, tiny_base: Base
) -> None:
    end_of(vllm.ask(prompt(tiny_base), Sampling(max_tokens=2)))
    (body,) = fake.heard
    assert body["prompt"] == prompt(tiny_base).ids
    assert {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens"} <= set(body)
    assert body["return_token_ids"] is True


def test_versions_are_loaded_by_their_hash_and_answer_side_by_side(
    vllm: VLLM, fake: FakeVLLM, tiny_base: Base, home: Path
) -> None:
    asked = prompt(tiny_base)
    base = end_of(vllm.ask(asked, GREEDY)).token_ids
    for number in (1, 2):
        vllm.load(str(number), adapter(home, number))
    assert vllm.figures().versions == vllm.versions() == ["0", "1", "2"]
    assert all(name.startswith(f"ratchet-{number}-") for number, name in zip((1, 2), fake.adapters, strict=True))
    assert list(fake.adapters.values()) == [str(adapter(home, number).resolve()) for number in (1, 2)]
    streams = [vllm.ask(asked, GREEDY, version) for version in ("1", "0", "2", "1")]
    first, second, third, fourth = (end_of(stream).token_ids for stream in streams)
    assert second == base
    assert first == fourth
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert [stream.version for stream in streams] == ["1", "0", "2", "1"]
    vllm.load("1", adapter(home, 1))  # again: the server holds it
    assert len(fake.adapters) == 2
    vllm.load("2", adapter(home, 3))  # another under the same number: the old one goes
    until(
        lambda: len(fake.adapters) == 2 and not any(path.endswith("2/train/adapter") for path in fake.adapters.values())
    )
    with pytest.raises(Problem, match='"0" is the base'):
        vllm.load("0", adapter(home, 1))


def test_a_version_goes_when_its_last_request_has_ended(
    vllm: VLLM, fake: FakeVLLM, tiny_base: Base, home: Path
) -> None:
    vllm.load("1", adapter(home, 1))
    step, go = fake.engine.step, threading.Event()

    def held() -> bool:
        go.wait(20)
        return step()

    fake.engine.step = held  # type: ignore[method-assign]
    stream = vllm.ask(prompt(tiny_base), GREEDY, "1")
    vllm.remove("1")
    with pytest.raises(Problem, match="No version 1"):
        vllm.ask(prompt(tiny_base), GREEDY, "1")
    with pytest.raises(Problem, match="No version 1"):
        vllm.remove("1")
    until(lambda: fake.heard)
    assert fake.adapters, "the request needs it still"
    go.set()
    assert end_of(stream).finish_reason == "length"
    until(lambda: not fake.adapters)


def test_a_server_that_was_started_again_is_given_its_adapters_again(
    vllm: VLLM, fake: FakeVLLM, tiny_base: Base, home: Path
) -> None:
    vllm.load("1", adapter(home, 1))
    before = end_of(vllm.ask(prompt(tiny_base), GREEDY, "1")).token_ids
    fake.restart()
    streams = [vllm.ask(prompt(tiny_base), GREEDY, "1") for _ in range(5)]
    assert [end_of(stream).token_ids for stream in streams] == [before] * 5
    fake.restart()
    fake.refuses = "no room for another LoRA"
    with pytest.raises(Problem, match="no room for another LoRA"):
        end_of(vllm.ask(prompt(tiny_base), GREEDY, "1"))
    assert end_of(vllm.ask(prompt(tiny_base), GREEDY)).token_ids, "the base answers on"


def test_a_refused_adapter_is_refused_in_the_servers_words(
    vllm: VLLM, fake: FakeVLLM, tiny_base: Base, home: Path
) -> None:
    vllm.load("1", adapter(home, 1))
    fake.refuses = "LoRA rank 64 is greater than max_lora_rank 16."
    with pytest.raises(Problem, match=r"rank 64 is greater than max_lora_rank 16\.") as caught:
        vllm.load("2", adapter(home, 2))
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in caught.value.hint
    assert vllm.versions() == ["0", "1"]
    assert end_of(vllm.ask(prompt(tiny_base), GREEDY, "1")).token_ids


def test_what_is_not_this_bases_or_not_in_the_home_is_not_even_sent(
    vllm: VLLM, fake: FakeVLLM, tiny_base: Base, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = home / "other"
    write_adapter(other, read_adapter(adapter(home, 1), tiny_base), tiny_base)
    (other / "ratchet.json").write_text('{"base": "llama", "fingerprint": "beef"}')
    with pytest.raises(Problem, match="made for llama"):
        vllm.load("1", other)
    away = Path(shutil.copytree(adapter(home, 1), tmp_path_factory.mktemp("away") / "adapter"))
    with pytest.raises(Problem, match="stands outside"):
        vllm.load("1", away)
    assert not fake.adapters


def test_the_home_may_have_another_path_at_the_server(
    fake: FakeVLLM, tiny_base: Base, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = tmp_path_factory.mktemp("mount")
    shutil.copytree(home / "updates", there / "updates")
    settings = BackendSettings("vllm", fake.url, adapters=f"{there}/")
    vllm = VLLM(tiny_base, settings, home)
    vllm.start()
    vllm.load("3", adapter(home, 3))
    assert list(fake.adapters.values()) == [f"{there}/updates/3/train/adapter"]
    vllm.close()


def test_an_adapter_that_stays_at_the_server_is_told_to_the_log(
    vllm: VLLM, fake: FakeVLLM, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vllm.load("1", adapter(home, 1))
    fake.restart()
    with caplog.at_level(logging.WARNING):
        vllm.remove("1")
        until(lambda: "cannot be found" in caplog.text)
    assert vllm.versions() == ["0"]


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"text": "a", "token_ids": ["x"]},
        {"text": "a", "token_ids": [5], "logprobs": {"token_logprobs": [float("nan")]}},
        {"text": "a", "token_ids": [5], "logprobs": {"token_logprobs": [-1.0], "top_logprobs": [{"e": -1.0}]}},
        {"text": "a", "token_ids": [5], "logprobs": [3]},
    ],
)
def test_a_choice_of_another_shape_is_said(vllm: VLLM, fake: FakeVLLM, tiny_base: Base, choice: dict[str, Any]) -> None:
    fake.raw = f"data: {json.dumps({'choices': [choice]})}\n\n".encode()
    with pytest.raises(Unavailable, match="no stream of an answer"):
        end_of(vllm.ask(prompt(tiny_base), GREEDY))


def test_a_server_that_tells_no_token_ids_is_read_as_text(vllm: VLLM, fake: FakeVLLM, tiny_base: Base) -> None:
    fake.raw = (
        b'data: {"choices": [{"text": "Where", "logprobs": {"token_logprobs": [-1.0]}}]}\n\n'
        b'data: {"choices": [{"text": " is", "finish_reason": "stop"}]}\n\n'
    )
    done = end_of(vllm.ask(prompt(tiny_base), replace(GREEDY, max_tokens=9)))
    assert (done.text, done.logprobs, done.finish_reason) == ("Where is", [], "stop")
    assert done.token_ids == tiny_base.tokenizer.encode("Where is", add_special_tokens=False)
