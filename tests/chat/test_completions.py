from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat.settings import ChatSettings
from chat.wire import REFUSED, ChatRequest
from lm.engine import Late
from lm.loading import Base
from lm.prompts import encode_chat
from lm.stream import Completion, Delta, Stream
from store.conversations import messages_of, path_to
from store.schema import Generation, Message

from .conftest import Running, last_generation, running_chat, thoughtful, until

ASK = [{"role": "user", "content": "Where is my parcel?"}]


def events(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_an_answer_is_recorded_exactly(running: Running) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *ASK]
    body = {"messages": messages, "temperature": 0.7, "top_p": 0.9, "seed": 5, "max_tokens": 9, "user": "Ann"}
    answer = running.client.post("/v1/chat/completions", json=body).json()
    choice = answer["choices"][0]
    assert answer["id"] == choice["generation"]
    kept = running.generation(answer["id"])
    assert kept.messages == messages
    assert kept.text == choice["message"]["content"]
    assert (kept.version_id, kept.adapter_hash, kept.surface) == (0, None, "api")
    assert kept.sampling["temperature"] == 0.7
    assert kept.sampling["top_p"] == 0.9
    assert kept.sampling["seed"] == 5
    assert len(kept.token_ids) == len(kept.logprobs) == answer["usage"]["completion_tokens"] <= 9
    assert answer["usage"]["prompt_tokens"] == len(encode_chat(running.base, messages))
    assert kept.finish_reason == choice["finish_reason"]
    assert kept.latency > 0
    with running.store.session() as session:
        [leaf] = [m for m in messages_of(session, kept.conversation_id) if m.generation_id == kept.id]
        assert [m.role for m in path_to(session, leaf.id)] == ["system", "user", "assistant"]


def test_same_seed_same_answer(running: Running) -> None:
    first, again, other = (running.ask(seed=seed).json()["choices"][0]["message"] for seed in (3, 3, 4))
    assert first == again != other


def test_a_stream_says_what_the_whole_answer_says(running: Running) -> None:
    whole = running.ask(seed=8).json()["choices"][0]["message"]["content"]
    response = running.ask(seed=8, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == whole
    assert len({c["id"] for c in chunks}) == 1
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]][-1] in ("stop", "length")
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert running.generation(chunks[0]["id"]).text == whole


def test_two_choices_are_a_pair(running: Running) -> None:
    answer = running.ask(n=2, seed=1).json()
    one, two = (running.generation(choice["generation"]) for choice in answer["choices"])
    assert one.pair == two.pair is not None
    assert (one.side, two.side) == ("left", "right")
    assert one.token_ids != two.token_ids
    three = running.ask(n=3).json()["choices"]
    assert [choice["index"] for choice in three] == [0, 1, 2]
    assert {running.generation(choice["generation"]).pair for choice in three} == {None}
    streamed = events(running.ask(n=2, stream=True))
    assert {c["choices"][0]["index"] for c in streamed} == {0, 1}
    assert len({c["choices"][0]["generation"] for c in streamed}) == 2


@pytest.mark.parametrize("seed", range(10))  # 6 and 9 draw an end token on the way: kept, but not listed
def test_logprobs_and_length(running: Running, seed: int) -> None:
    answer = running.ask(logprobs=True, ignore_eos=True, max_completion_tokens=7, seed=seed).json()
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "length"
    kept = running.generation(choice["generation"])
    assert len(kept.token_ids) == len(kept.logprobs) == answer["usage"]["completion_tokens"] == 7
    special = running.base.tokenizer.all_special_ids
    shown = [logprob for token, logprob in zip(kept.token_ids, kept.logprobs, strict=True) if token not in special]
    assert [each["logprob"] for each in choice["logprobs"]["content"]] == pytest.approx(shown)


def test_stop_text(running: Running) -> None:
    whole = running.ask(seed=2, ignore_eos=True, max_tokens=40).json()["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2]
    cut = running.ask(seed=2, ignore_eos=True, max_tokens=40, stop=stop).json()["choices"][0]
    assert cut["message"]["content"] == whole[: whole.index(stop)]
    assert cut["finish_reason"] == "stop"


def test_a_conversation_goes_on(running: Running) -> None:
    first = running.ask(user="Bob").json()
    said = first["choices"][0]["message"]["content"]
    more = [*ASK, {"role": "assistant", "content": said}, {"role": "user", "content": "And then?"}]
    place = {"conversation": first["conversation"]}
    second = running.client.post(
        "/v1/chat/completions", json={"messages": more, "metadata": place, "user": "Bob"}
    ).json()
    assert second["conversation"] == first["conversation"]
    with running.store.session() as session:
        tree = messages_of(session, first["conversation"])
        assert [m.role for m in tree] == ["user", "assistant", "user", "assistant"]
        assert path_to(session, tree[-1].id) == tree
    stranger = running.client.post("/v1/chat/completions", json={"messages": more, "metadata": place, "user": "Eve"})
    assert stranger.status_code == 400


def test_who_asks(running: Running) -> None:
    by_field = running.generation(running.ask(user="Cy").json()["id"]).person_id
    body = {"messages": ASK}
    headers = {"X-Ratchet-Person": "Cy"}
    by_header = running.client.post("/v1/chat/completions", json=body, headers=headers).json()["id"]
    assert running.generation(by_header).person_id == by_field
    assert running.ask(user=by_field).status_code == 400  # an id is no name
    assert running.generation(running.ask().json()["id"]).person_id != by_field


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "gpt-4"}, 404, "model_not_found", "model"),
        ({"model": "ratchet@99"}, 404, "model_not_found", "model"),
        ({"model": "ratchet@x"}, 404, "model_not_found", "model"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "context_length_exceeded", "messages"),
        ({"messages": []}, 400, None, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, None, None),
        ({"temperature": 3}, 400, None, "temperature"),
        ({"top_p": 0}, 400, None, "top_p"),
        ({"n": 0}, 400, None, "n"),
        ({"max_tokens": 0}, 400, None, "max_tokens"),
        ({"stop": ["a", ""]}, 400, None, "stop"),
        ({"top_k": -2}, 400, None, "top_k"),
        ({"min_p": 2}, 400, None, "min_p"),
        ({"repetition_penalty": 0}, 400, None, "repetition_penalty"),
        ({"timeout": 0}, 400, None, "timeout"),
        ({"n": 9}, 400, None, "n"),
        ({"logprobs": True, "top_logprobs": 21}, 400, None, "top_logprobs"),
        ({"top_logprobs": 2}, 400, None, "top_logprobs"),
        ({"chat_template_kwargs": {"enable_thinking": True, "x": 1}}, 400, None, "chat_template_kwargs.x"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, None, "tools"),
        ({"tool_choice": "required"}, 400, None, "tool_choice"),
        ({"functions": [{"name": "f"}]}, 400, None, "functions"),
        ({"response_format": {"type": "json_object"}}, 400, None, "response_format"),
        ({"modalities": ["text", "audio"]}, 400, None, "modalities"),
        ({"logit_bias": {"50": 1}}, 400, None, "logit_bias"),
        ({"presence_penalty": 0.5}, 400, None, "presence_penalty"),
        ({"frequency_penalty": -1}, 400, None, "frequency_penalty"),
        ({"messages": [{"role": "tool", "content": "4"}]}, 400, None, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, None, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 3}]}, 400, None, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, 400, None, "messages.0.content"),
        ({"messages": [{"role": "system"}]}, 400, None, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, 400, None, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, None, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, 400, None, "messages.0.content"),
        ({"messages": None}, 400, None, "messages"),
        ({"messages": [{"role": None, "content": "Hi"}]}, 400, None, "messages.0.role"),
    ],
)
def test_refusals_have_openai_shape(
    running: Running, fields: dict[str, Any], status: int, code: str | None, param: str | None
) -> None:
    response = running.client.post("/v1/chat/completions", json={"messages": ASK} | fields)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == code
    assert param is None or error["param"].startswith(param)


def test_what_changes_nothing_is_accepted(running: Running) -> None:
    harmless = {
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "logit_bias": {},
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "store": True,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "metadata": {"purpose": "test"},
    }
    assert running.ask(max_tokens=2, **harmless).status_code == 200


OPTIONAL = [name for name, field in ChatRequest.model_fields.items() if not field.is_required()]


@pytest.mark.parametrize("field", [*OPTIONAL, *REFUSED, "store", "service_tier", "reasoning_effort", "prediction"])
def test_null_is_as_absent(running: Running, field: str) -> None:
    absent = running.ask(seed=4, max_completion_tokens=3)
    asked: dict[str, Any] = {"seed": 4, "max_completion_tokens": 3, field: None}
    null = running.ask(**asked)
    assert null.status_code == 200, null.text
    assert set(null.json()) == set(absent.json())
    assert len(null.json()["choices"]) == 1
    kept = [running.generation(each.json()["id"]).sampling for each in (absent, null)]
    same = [{name: value for name, value in each.items() if name != field} for each in kept]
    if field == "max_completion_tokens":
        same = [{name: value for name, value in each.items() if name != "max_tokens"} for each in kept]
    assert same[0] == same[1]


def test_null_within_a_field_is_as_absent(running: Running) -> None:
    nested = [
        {"stream_options": {"include_usage": None}},
        {"chat_template_kwargs": {"enable_thinking": None}},
        {"metadata": {"conversation": None}},
    ]
    assert [running.ask(max_tokens=2, **fields).status_code for fields in nested] == [200] * 3
    chunks = events(running.ask(max_tokens=2, stream=True, stream_options={"include_usage": None}))
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize(
    ("turn", "read"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        ({"content": None, "refusal": None, "tool_calls": None, "function_call": None, "audio": None}, ""),
        ({"content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]}, ""),
        ({"content": "Yes.", "refusal": None, "name": None}, "Yes."),
        ({"content": [{"type": "refusal", "refusal": "I cannot."}]}, "I cannot."),
    ],
)
def test_an_assistants_content_may_be_null(running: Running, turn: dict[str, Any], read: str) -> None:
    messages = [*ASK, {"role": "assistant"} | turn, {"role": "user", "content": "Why?"}]
    answer = running.client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 2})
    assert answer.status_code == 200, answer.text
    assert running.generation(answer.json()["id"]).messages[1] == {"role": "assistant", "content": read}


def test_a_line_break_stands_between_parts(running: Running) -> None:
    parts = [{"type": "text", "text": text} for text in ("My lamp is blue", "What is 3 + 4?")]
    contents = [parts, "My lamp is blue\nWhat is 3 + 4?"]
    answers = [
        running.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": c}], "seed": 1})
        for c in contents
    ]
    joined, written = (answer.json()["usage"]["prompt_tokens"] for answer in answers)
    assert joined == written
    kept = [running.generation(answer.json()["id"]).messages[0]["content"] for answer in answers]
    assert kept == [contents[1]] * 2
    single = running.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts[:1]}]})
    assert running.generation(single.json()["id"]).messages[0]["content"] == "My lamp is blue"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "refusal", "video_url"])
def test_parts_of_other_kinds_are_refused_by_name(running: Running, kind: str) -> None:
    parts = [{"type": "text", "text": "Look."}, {"type": kind, kind: "x"}]
    body = {"messages": [{"role": "user", "content": parts}]}
    error = running.client.post("/v1/chat/completions", json=body).json()["error"]
    assert kind in error["message"]
    assert error["param"] == "messages.0.content"


def test_the_request_reaches_the_engine(running: Running) -> None:
    asked = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "logprobs": True, "top_logprobs": 3}
    kept = running.generation(running.ask(max_tokens=2, **asked).json()["id"]).sampling
    del asked["logprobs"]
    assert {name: kept[name] for name in asked} == asked
    assert running.generation(running.ask(max_tokens=2, top_k=-1).json()["id"]).sampling["top_k"] == 0


@pytest.mark.parametrize(("raw", "words"), [(b"{", "no JSON"), (b"[]", "dictionary"), (b"", "required")])
def test_what_is_no_request_is_said(running: Running, raw: bytes, words: str) -> None:
    response = running.client.post("/v1/chat/completions", content=raw, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert words in error["message"]
    assert error["param"] is None


def test_the_store_keeps_the_engines_word(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = running.service.watcher._backend.engine
    submit = engine.submit

    def late(*given: Any) -> Stream:
        stream = submit(*given)
        finish = stream.finish
        monkeypatch.setattr(stream, "finish", lambda done: finish(replace(done, finish_reason="deadline")))
        return stream

    monkeypatch.setattr(engine, "submit", late)
    answer = running.ask(max_tokens=40, ignore_eos=True).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert running.generation(answer["id"]).finish_reason == "deadline"


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_that_passed_in_the_queue(running: Running, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    deadlines: list[float | None] = []

    def never(ids: Any, sampling: Any, version: str, person: str, deadline: float | None, door: str) -> Stream:
        deadlines.append(deadline)
        it = Stream(version)
        it.fail(Late("The request waited longer than it may.", hint="Try again later."))
        return it

    monkeypatch.setattr(running.service.watcher._backend.engine, "submit", never)
    response = running.ask(timeout=1.5, stream=stream)
    assert deadlines == [1.5]
    if stream:
        error = json.loads(response.text.split("\n\n")[-2].removeprefix("data: "))["error"]
    else:
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        error = response.json()["error"]
    assert error["code"] == "timeout"
    assert error["message"].startswith("The request waited")


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_stands_apart(
    running: Running, tiny_base: Base, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    prompts: list[list[int]] = []
    base = thoughtful(tiny_base)

    def think(ids: list[int], sampling: Any, version: str, *more: Any) -> Stream:
        prompts.append(ids)
        it = Stream(version)
        pieces = ["<th", "ink>Two", " and two.</thi", "nk>Four", "."]
        for piece in pieces:
            it.push(Delta(piece, [9], [-0.5]))
        it.finish(Completion([9] * 5, [-0.5] * 5, [-0.5] * 5, "".join(pieces), "stop"))
        return it

    monkeypatch.setattr(running.service, "base", base)
    monkeypatch.setattr(running.service.watcher._backend.engine, "submit", think)
    response = running.ask(stream=stream, chat_template_kwargs={"enable_thinking": False})
    assert prompts == [encode_chat(base, ASK, thinking=False)] != [encode_chat(base, ASK)]
    if stream:
        deltas = [chunk["choices"][0]["delta"] for chunk in events(response)]
        said = {name: "".join(d.get(name, "") for d in deltas) for name in ("content", "reasoning_content")}
        id = events(response)[0]["id"]
    else:
        message, id = response.json()["choices"][0]["message"], response.json()["id"]
        said = {name: message[name] for name in ("content", "reasoning_content")}
    assert said == {"content": "Four.", "reasoning_content": "Two and two."}
    kept = running.generation(id)
    assert (kept.text, len(kept.token_ids)) == ("Four.", 5)


def test_answers_without_thinking_have_no_field_for_it(running: Running) -> None:
    assert "reasoning_content" not in running.ask(max_tokens=3).json()["choices"][0]["message"]


def test_requests_a_minute(tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, ChatSettings(requests_per_minute=2)) as chat:
        assert [chat.ask(max_tokens=1, user="Ann").status_code for _ in range(3)] == [200, 200, 429]
        refused = chat.ask(max_tokens=1, user="Ann")
        assert refused.json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert chat.ask(max_tokens=1, user="Bo").status_code == 200


def test_half_a_character_is_refused(running: Running) -> None:
    raw = b'{"messages": [{"role": "user", "content": "\\ud83d"}]}'
    response = running.client.post("/v1/chat/completions", content=raw, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_models(running: Running) -> None:
    assert [each["id"] for each in running.client.get("/v1/models").json()["data"]] == ["ratchet", "ratchet@0"]
    assert running.ask(model="ratchet@0").json()["model"] == "ratchet@0"


def test_a_reader_who_leaves_cancels(running: Running) -> None:
    body = {"messages": ASK, "stream": True, "ignore_eos": True, "max_tokens": 480, "user": "Leaver"}
    with running.client.stream("POST", "/v1/chat/completions", json=body) as response:
        first = next(line for line in response.iter_lines() if '"content": ""' not in line and line)
    assert first.startswith("data: ")
    kept = until(lambda: last_generation(running.store, "Leaver"))
    assert kept.finish_reason == "cancelled"
    assert 0 < len(kept.token_ids) < 480
    with running.store.session() as session:
        said = [m for m in messages_of(session, kept.conversation_id) if m.role == "assistant"]
        assert [m.content for m in said] == [kept.text]


async def test_a_caller_who_hangs_up_cancels(running: Running) -> None:
    body = {"messages": ASK, "ignore_eos": True, "max_tokens": 480, "user": "Hanger"}
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        while not running.service.under_way:
            await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    kept = until(lambda: last_generation(running.store, "Hanger"))
    assert kept.finish_reason == "cancelled"


async def test_many_at_once_each_get_their_own(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        answers = await asyncio.gather(
            *(
                client.post("/v1/chat/completions", json={"messages": ASK, "seed": seed, "user": f"m{seed}"})
                for seed in range(24)
            )
        )
    ids = [each.json()["id"] for each in answers]
    assert len(set(ids)) == 24
    assert [running.generation(each).sampling["seed"] for each in ids] == list(range(24))
    with running.store.session() as session:
        assert session.query(Message).filter(Message.generation_id.in_(ids)).count() == 24
        assert session.query(Generation).filter(Generation.id.in_(ids)).count() == 24
