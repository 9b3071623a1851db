"""vLLM's routes, as far as they are used, around this project's own engine; and servers that misbehave.

Shapes follow vLLM 0.19's request and response models: token ids as prompt, `token_ids` and `logprobs` in each choice,
tokens named `token_id:N`, and adapters that are loaded and unloaded by name and path.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from lm.adapters import read_adapter
from lm.engine import Engine
from lm.loading import Base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from lm.stream import Stream
from problems import Problem

MODEL = "tiny-model"
LENGTH = 300


def error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
    return JSONResponse(body, status, headers)


class FakeVLLM:
    """What the routes do; attributes may be changed while it serves."""

    def __init__(self, base: Base) -> None:
        self.base, self.engine = base, Engine(base, EngineSettings(slots=8, context=LENGTH))
        self.url = ""
        self.adapters: dict[str, str] = {}
        self.key = ""
        self.names = [MODEL]
        self.refuses = ""  # adapters, with these words
        self.answer: Response | None = None  # to every request for an answer
        self.raw: bytes | None = None  # a stream of just this
        self.breaks = False  # the connection, after two pieces
        self.hangs: asyncio.Event | None = None  # before the headers, until set
        self.silent = False  # after the headers
        self.heard: list[dict[str, Any]] = []
        self.probes = 0
        self.hung_up = threading.Event()
        self.most = self._now = 0  # requests at the same time

    def restart(self) -> None:
        """As a server started again: it has forgotten its adapters."""
        for name in self.adapters:
            self.engine.remove(name)
        self.adapters.clear()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def guard(request: Request, go_on: Any) -> Response:
            if request.url.path.startswith("/v1") and self.key:
                given = request.headers.get("authorization", "")
                if given != f"Bearer {self.key}":
                    return error(401, f"Unauthorized: {given}")
            answered: Response = await go_on(request)
            return answered

        @app.get("/health")
        async def health() -> Response:
            self.probes += 1
            return Response()

        @app.get("/v1/models")
        async def models() -> dict[str, Any]:
            bases = [{"id": name, "parent": None, "max_model_len": LENGTH} for name in self.names]
            return {"data": [*bases, *({"id": name, "parent": MODEL} for name in self.adapters)]}

        @app.post("/v1/load_lora_adapter")
        async def load(request: Request) -> Response:
            body = await request.json()
            if self.refuses or body["lora_name"] in self.adapters:
                return error(400, self.refuses or f"'{body['lora_name']}' has already been loaded")
            try:
                self.engine.install(body["lora_name"], read_adapter(Path(body["lora_path"]), self.base))
            except Problem as problem:
                return error(404, str(problem))
            self.adapters[body["lora_name"]] = body["lora_path"]
            return Response("Success")

        @app.post("/v1/unload_lora_adapter")
        async def unload(request: Request) -> Response:
            name = (await request.json())["lora_name"]
            if self.adapters.pop(name, None) is None:
                return error(404, f"'{name}' cannot be found")
            self.engine.remove(name)
            return Response("Success")

        @app.post("/v1/completions")
        async def complete(request: Request) -> Response:
            body = await request.json()
            return await self._respond(body, body["prompt"], _completion_chunk)

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            return await self._respond(body, encode_chat(self.base, body["messages"]), _chat_chunk)

        return app

    async def _respond(self, body: dict[str, Any], ids: list[int], chunk: Any) -> Response:
        self.heard.append(body)
        if self.hangs is not None:
            await self.hangs.wait()
        if self.answer is not None:
            return self.answer
        if self.raw is not None:
            return Response(self.raw, media_type="text/event-stream")
        if body["model"] not in (*self.names, *self.adapters):
            return error(404, f"The model `{body['model']}` does not exist.")
        if len(ids) + body["max_tokens"] > LENGTH:
            return error(400, f"This model's maximum context length is {LENGTH} tokens.")
        fields = ("temperature", "top_p", "max_tokens", "seed", "top_k", "min_p", "repetition_penalty", "ignore_eos")
        sampling = Sampling(
            **{name: body[name] for name in fields if name in body},
            stop=tuple(body.get("stop", ())) if chunk is _completion_chunk else (),  # as servers that leave it in
            top_logprobs=body.get("logprobs", 0),
        )
        stream = self.engine.submit(ids, sampling, body["model"] if body["model"] in self.adapters else "0")
        return StreamingResponse(self._events(stream, ids, chunk), media_type="text/event-stream")

    async def _events(self, stream: Stream, ids: list[int], chunk: Any) -> AsyncIterator[str]:
        self._now += 1
        self.most = max(self.most, self._now)
        count = 0
        try:
            yield ": hello\n\n"
            if self.silent:
                await asyncio.Event().wait()
            async for delta in stream:
                yield _event({"choices": [chunk(delta)]})
                count += len(delta.token_ids)
                if self.breaks and count >= 2:
                    raise ConnectionResetError("broken on purpose")
            reason = stream.completion.finish_reason
            yield _event({"choices": [chunk(None) | {"finish_reason": reason}]})
            usage = {"prompt_tokens": len(ids), "completion_tokens": count, "total_tokens": len(ids) + count}
            yield _event({"choices": [], "usage": usage | {"prompt_tokens_details": {"cached_tokens": 3}}})
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.hung_up.set()
            raise
        finally:
            self._now -= 1
            stream.cancel()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _chat_chunk(delta: Any) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": delta.text} if delta else {}, "finish_reason": None}


def _completion_chunk(delta: Any) -> dict[str, Any]:
    if delta is None:
        return {"index": 0, "text": "", "logprobs": None, "token_ids": []}
    tops = delta.top_logprobs or [[pair] for pair in zip(delta.token_ids, delta.logprobs, strict=True)]
    marks = {
        "tokens": [f"token_id:{token}" for token in delta.token_ids],
        "token_logprobs": delta.logprobs,
        "top_logprobs": [{f"token_id:{token}": value for token, value in reversed(each)} for each in tops],
    }
    return {"index": 0, "text": delta.text, "logprobs": marks, "finish_reason": None, "token_ids": delta.token_ids}


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve on a free port of this machine; gives the address."""
    up = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            up.set()

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="h11", log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert up.wait(20), "the server did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"


@contextmanager
def fake_vllm(base: Base) -> Iterator[tuple[FakeVLLM, str]]:
    """One that serves for as long as the block lasts, and its address."""
    fake = FakeVLLM(base)
    with fake.engine, serving(fake.app()) as url:
        fake.url = url
        yield fake, url
