"""POST /v1/chat/completions and GET /v1/models: OpenAI's shapes around this server's answers.

A choice carries one field more, `generation`: the id to rate it by. With n=1 it is the response's `id` too. What the
model thought before it answered stands in `reasoning_content` (vLLM's and DeepSeek's name), beside `content`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from chat import people
from chat.access import scope
from chat.errors import explain
from chat.keyring import check_scope, grant_of
from chat.laid import check_count, lay, take_back
from chat.logprobs import Lister, lister
from chat.pace import Pace
from chat.pieces import Piece
from chat.reply import Answer, Reply
from chat.service import Service
from chat.shapes import ChatCompletion, Model, ModelList
from chat.watcher import ALIAS, UnknownModel
from chat.wire import ChatRequest
from lm.settings import Sampling
from problems import Problem

EVENT = {  # of a stream, each one
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "A chat.completion.chunk or an Error as JSON, or [DONE]"}},
}
FINISH = {"deadline": "length", "cancelled": "stop"}


def completions_router(service: Service, pace: Pace, most: int) -> APIRouter:
    """The routes, on this service; `pace` says how often one person may ask, `most` how many messages they may send."""
    router = APIRouter(prefix="/v1", tags=["chat"], dependencies=[Depends(scope("chat"))])
    listing = lister(service.base.tokenizer)

    @router.post(
        "/chat/completions",
        summary="Answer a conversation",
        response_model=ChatCompletion,
        responses={200: {"content": {"text/event-stream": {"schema": EVENT}}}},
    )
    async def complete(body: ChatRequest, request: Request) -> Response:
        pace.step(people.named_in(request, body.user))
        door = service.doors.asks(request, body.n or 1)
        check_count(body, most)
        await asyncio.to_thread(check_model, service, request, body.model or ALIAS)
        messages = [message.plain() for message in body.messages]
        prompt_ids = await service.check_room(messages, body.thinking)
        laid = await asyncio.to_thread(lay, service, body, request, door, messages, prompt_ids)
        try:
            replies = await service.begin_all(laid.turns, _each(sampling_of(body, service.sampling), len(laid.turns)))
        except Problem:
            await asyncio.to_thread(take_back, service, laid)
            raise
        head = _head(replies, bool(body.stream))
        if body.stream:
            usage = body.stream_options is not None and bool(body.stream_options.include_usage)
            events = _events(replies, head, listing if body.logprobs else None, usage)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        answers = await _unless_gone(request, replies)
        if answers is None:
            return Response(status_code=499)  # nobody is left to read it
        choices = [_choice(index, answer, listing if body.logprobs else None) for index, answer in enumerate(answers)]
        return JSONResponse(head | {"choices": choices, "usage": _usage(replies, answers)})

    @router.get("/models", summary="The names that can be asked for", response_model=ModelList)
    async def models(request: Request) -> dict[str, Any]:
        grant = grant_of(request)
        names = await asyncio.to_thread(service.watcher.models, unproven=grant is None or grant.allows("operate"))
        return {"object": "list", "data": [_model(name) for name in names]}

    @router.get("/models/{model}", summary="One name that can be asked for", response_model=Model)
    async def model(model: str, request: Request) -> dict[str, Any]:
        await asyncio.to_thread(check_model, service, request, model)
        if model not in await asyncio.to_thread(service.watcher.models):
            raise UnknownModel(f"there is no model {model!r}", hint="GET /v1/models lists the names")
        return _model(model)

    return router


def check_model(service: Service, request: Request, model: str) -> None:
    """Versions that the gate has not passed are for the scope operate.

    Raises:
        UnknownModel: there is no such version.
        NotAllowed: the caller's key is not good for it.
    """
    if service.watcher.unproven(model):
        check_scope(request, "operate")


def sampling_of(body: ChatRequest, default: Sampling) -> Sampling:
    """What a request asks for, and for the rest what this server is set to."""
    stop = default.stop if body.stop is None else (body.stop,) if isinstance(body.stop, str) else tuple(body.stop)
    return replace(
        default,
        temperature=default.temperature if body.temperature is None else body.temperature,
        top_p=default.top_p if body.top_p is None else body.top_p,
        max_tokens=body.max_completion_tokens or body.max_tokens or default.max_tokens,
        stop=stop,
        seed=default.seed if body.seed is None else body.seed,
        ignore_eos=bool(body.ignore_eos),
        top_k=default.top_k if body.top_k is None else max(body.top_k, 0),
        min_p=default.min_p if body.min_p is None else body.min_p,
        repetition_penalty=default.repetition_penalty if body.repetition_penalty is None else body.repetition_penalty,
        top_logprobs=body.top_logprobs or 0,
    )


def _each(sampling: Sampling, choices: int) -> list[Sampling]:
    """How each choice is drawn: choices of one seed differ by their index."""
    return [
        sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index) for index in range(choices)
    ]


async def _unless_gone(request: Request, replies: Sequence[Reply]) -> list[Answer] | None:
    """The answers; None, and the generations cancelled, if the reader hangs up first."""
    answers = asyncio.gather(*(asyncio.shield(reply.answer) for reply in replies))
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        ends: set[asyncio.Future[Any]] = {answers, gone}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return answers.result() if answers.done() else None
    finally:
        gone.cancel()
        if not answers.done():
            answers.cancel()
        for reply in replies:
            reply.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(
    replies: Sequence[Reply], head: dict[str, Any], listing: Lister | None, usage: bool
) -> AsyncIterator[str]:
    """The server-sent events of all choices, each as its pieces come, then [DONE]."""
    waiting: asyncio.Queue[tuple[int, Piece | Answer | BaseException]] = asyncio.Queue()

    async def read(index: int, reply: Reply) -> None:
        try:
            async for piece in reply:
                waiting.put_nowait((index, piece))
            waiting.put_nowait((index, await reply.answer))
        except Exception as error:
            waiting.put_nowait((index, error))

    def event(index: int, delta: dict[str, Any], **more: Any) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        choice["generation"] = replies[index].generation_id
        return _event(head | {"choices": [choice | more]} | ({"usage": None} if usage else {}))

    readers = [asyncio.create_task(read(index, reply)) for index, reply in enumerate(replies)]
    try:
        for index in range(len(replies)):
            yield event(index, {"role": "assistant", "content": ""})
        answers: list[Answer] = []
        while len(answers) < len(replies):
            index, news = await waiting.get()
            match news:
                case Piece():
                    said = {"reasoning_content": news.thinking, "content": news.text}
                    told = {"logprobs": listing(news)} if listing and news.token_ids else {}
                    delta = {name: text for name, text in said.items() if text}
                    if delta or told:
                        yield event(index, delta, **told)
                case Answer():
                    answers.append(news)
                    yield event(index, {}, finish_reason=_finish(news))
                case Exception():
                    yield _event(explain(news)[1])
                    return
        if usage:
            yield _event(head | {"choices": [], "usage": _usage(replies, answers)})
        yield "data: [DONE]\n\n"
    finally:
        for reader, reply in zip(readers, replies, strict=True):
            reader.cancel()
            reply.cancel()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _head(replies: Sequence[Reply], stream: bool) -> dict[str, Any]:
    first = replies[0]
    return {
        "id": first.generation_id if len(replies) == 1 else f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion.chunk" if stream else "chat.completion",
        "created": int(time.time()),
        "model": first.draft.loaded.model,
        "conversation": first.turn.conversation_id,
    }


def _choice(index: int, answer: Answer, listing: Lister | None) -> dict[str, Any]:
    thought = {"reasoning_content": answer.thinking} if answer.thinking else {}
    return {
        "index": index,
        "message": {"role": "assistant", "content": answer.text, "refusal": None} | thought,
        "finish_reason": _finish(answer),
        "logprobs": listing(answer.completion) if listing else None,
        "generation": answer.generation_id,
    }


def _finish(answer: Answer) -> str:
    """OpenAI's word for how it ended; the store keeps the engine's."""
    return FINISH.get(answer.completion.finish_reason, answer.completion.finish_reason)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ratchet"}


def _usage(replies: Sequence[Reply], answers: Sequence[Answer]) -> dict[str, Any]:
    prompt = len(replies[0].draft.prompt_ids)
    completion = sum(len(answer.completion.token_ids) for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answers[0].completion.cached_tokens},
    }
