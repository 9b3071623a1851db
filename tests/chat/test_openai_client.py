"""OpenAI's own client against this server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from chat.settings import ChatSettings
from lm.loading import Base
from lm.settings import EngineSettings

from .conftest import Running, last_generation, own_engine, running_chat, until

CROWDED = EngineSettings(slots=1, queue=4, context=512)
ASK: Any = [{"role": "user", "content": "Where is my parcel?"}]


@pytest.fixture
def client(running: Running) -> Iterator[openai.OpenAI]:
    """The stock client, without retries of its own."""
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as it:
        yield it


def test_an_answer_and_its_stream(running: Running, client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="ratchet", messages=ASK, seed=6)
    assert whole.choices[0].message.content == running.generation(whole.id).text
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.prompt_tokens_details is not None
    chunks = list(
        client.chat.completions.create(
            model="ratchet", messages=ASK, seed=6, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_log_probabilities(running: Running, client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "ratchet", "messages": ASK, "seed": 3, "logprobs": True, "top_logprobs": 4}
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.logprobs is not None
    listed = whole.logprobs.content
    assert listed
    raw = b"".join(bytes(each.bytes or []) for each in listed)
    assert raw.decode(errors="replace") == whole.message.content
    for each in listed:
        likeliest = [top.logprob for top in each.top_logprobs]
        assert len(likeliest) == 4
        assert likeliest == sorted(likeliest, reverse=True)
        assert each.logprob <= likeliest[0] + 1e-4
    streamed = [
        each
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for each in choice.logprobs.content or []
    ]
    assert [each.token for each in streamed] == [each.token for each in listed]
    assert [each.logprob for each in streamed] == pytest.approx([each.logprob for each in listed], abs=1e-4)


def test_two_choices(running: Running, client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="ratchet", messages=ASK, seed=1, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    said = {0: "", 1: ""}
    ended: dict[int, str | None] = {}
    for chunk in client.chat.completions.create(model="ratchet", messages=ASK, seed=1, n=2, stream=True):
        choice = chunk.choices[0]
        said[choice.index] += choice.delta.content or ""
        ended[choice.index] = choice.finish_reason
    assert said == {choice.index: choice.message.content for choice in whole.choices}
    assert ended == {choice.index: choice.finish_reason for choice in whole.choices}


NULLABLE = (
    *("frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "modalities"),
    *("n", "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort", "response_format", "seed"),
    *("service_tier", "stop", "store", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs"),
    *("top_p", "user", "verbosity"),
)


@pytest.mark.parametrize("stream", [None, False, True])
def test_a_client_that_sends_null_for_all_it_does_not_set(client: openai.OpenAI, stream: bool | None) -> None:
    nothing: dict[str, Any] = dict.fromkeys(NULLABLE)
    whole = client.chat.completions.create(model="ratchet", messages=ASK, seed=6)
    again = client.chat.completions.create(model="ratchet", messages=ASK, stream=stream, **(nothing | {"seed": 6}))
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in again)
    else:
        text = again.choices[0].message.content
    assert text == whole.choices[0].message.content


def test_the_clients_own_answers_go_back_in(running: Running, client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="ratchet", messages=ASK, max_tokens=4).choices[0].message
    messages: Any = [*ASK, first, {"role": "user", "content": "And then?"}]
    second = client.chat.completions.create(model="ratchet", messages=messages, max_tokens=2)
    assert running.generation(second.id).messages[1] == {"role": "assistant", "content": first.content}


def test_refusals_are_the_clients_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model") as unknown:
        client.chat.completions.create(model="other", messages=ASK)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="ratchet", messages=[{"role": "user", "content": "long " * 3000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="tools") as tools:
        client.chat.completions.create(
            model="ratchet", messages=ASK, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    assert tools.value.param == "tools"


def test_models(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["ratchet", "ratchet@0"]
    assert client.models.retrieve("ratchet@0").id == "ratchet@0"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("ratchet@9")


def test_the_calls_id(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="ratchet", messages=ASK, max_tokens=2, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.request_id == "mine-1"
    assert client.models.with_raw_response.list().request_id


async def test_the_asynchronous_client(running: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        whole = await client.chat.completions.create(model="ratchet", messages=ASK, seed=2)
        pieces = await client.chat.completions.create(model="ratchet", messages=ASK, seed=2, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in pieces])
    assert text == whole.choices[0].message.content


def test_closing_a_stream_halfway_cancels(running: Running, client: openai.OpenAI) -> None:
    pieces = client.chat.completions.create(
        model="ratchet", messages=ASK, max_tokens=480, user="Closer", stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(pieces))
    pieces.close()
    assert until(lambda: last_generation(running.store, "Closer")).finish_reason == "cancelled"


def test_a_full_queue(tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, ChatSettings(), backend=own_engine(tiny_base, 0.01, CROWDED)) as chat:
        client = openai.OpenAI(base_url=f"{chat.url}/v1", api_key="none", max_retries=0)
        streams: list[Any] = []
        long: dict[str, Any] = {"max_tokens": 400, "extra_body": {"ignore_eos": True}, "stream": True}

        def crowd() -> None:
            for _ in range(CROWDED.slots + CROWDED.queue + 1):
                streams.append(client.chat.completions.create(model="ratchet", messages=ASK, **long))

        with client, pytest.raises(openai.RateLimitError) as full:
            crowd()
        for stream in streams:
            stream.close()
    assert full.value.code == "queue_full"
    assert int(full.value.response.headers["retry-after"]) >= 1
