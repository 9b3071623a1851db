"""A server that is not ours: `transformers serve` on the starter, through the backend and through the whole chat."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from chat.app import build_app
from chat.settings import ChatSettings
from lm.backend import Prompt
from lm.loading import STARTER, BaseText, load_text
from lm.prompts import encode_chat
from lm.remote.server import Remote
from lm.settings import BackendSettings, Sampling
from lm.stream import Stream
from store.database import open_store
from store.schema import Generation

MESSAGES = [{"role": "user", "content": "What is two plus three?"}]
GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server process; it ends with the tests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder = tmp_path_factory.mktemp("serve")
    (folder / "hub").mkdir()
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    program = Path(sys.executable).with_name("transformers")
    command = [str(program), "serve", str(STARTER), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 300
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def starter() -> BaseText:
    return load_text("starter")


@pytest.fixture
def remote(url: str, starter: BaseText) -> Iterator[Remote]:
    it = Remote(starter, BackendSettings("openai", url, model=str(STARTER)))
    it.start()
    yield it
    it.close()


def ask(remote: Remote, sampling: Sampling, text: str = "What is two plus three?") -> Stream:
    messages = [{"role": "user", "content": text}]
    return remote.ask(Prompt(messages, encode_chat(remote.base, messages)), sampling)


def test_it_answers_is_left_and_answers_many(remote: Remote) -> None:
    assert remote.ready()
    stream = ask(remote, GREEDY)
    pieces = list(stream)
    whole = stream.completion
    assert len(pieces) > 1, "it streams"
    assert "".join(piece.text for piece in pieces) == whole.text
    assert whole.text.strip()
    assert whole.token_ids == remote.base.tokenizer.encode(whole.text, add_special_tokens=False)
    assert remote.figures().prompt_tokens == len(encode_chat(remote.base, MESSAGES)), "the same template on both sides"

    short = ask(remote, replace(GREEDY, max_tokens=3))
    assert "".join(piece.text for piece in short) == whole.text[: len(short.completion.text)]
    assert short.completion.finish_reason == "length"

    word = whole.text.split()[1]
    stopped = ask(remote, replace(GREEDY, stop=(word,)))
    list(stopped)
    assert (stopped.completion.text, stopped.completion.finish_reason) == (whole.text.split(word)[0], "stop")

    left = ask(remote, Sampling(temperature=1.0, max_tokens=1000, seed=1), "Tell me a long story.")
    for _ in left:
        break
    begun = time.monotonic()
    while not left.done:
        assert time.monotonic() < begun + 60, "cancelling did not end it"
        time.sleep(0.01)

    many = [ask(remote, GREEDY, f"What is {number} plus three?") for number in range(12)]
    for each in many:
        list(each)
    assert all(each.completion.text for each in many)
    assert remote.figures().running == 0


def test_the_whole_chat_on_it(remote: Remote, tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    app = build_app(store, remote, ChatSettings(pair_share=0.0), GREEDY)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/readyz").json() == {"ready": True, "version": 0}
        body = {"messages": MESSAGES, "user": "Ann", "logprobs": True}
        whole = client.post("/v1/chat/completions", json=body).json()
        (choice,) = whole["choices"]
        assert choice["message"]["content"].strip()
        assert choice["logprobs"] is None, "not known here"
        streamed = client.post("/v1/chat/completions", json=body | {"stream": True}).text
        assert streamed.rstrip().endswith("data: [DONE]")
        rating = {"id": choice["generation"], "kind": "thumb", "value": 1, "user": "Ann"}
        assert client.post("/v1/feedback", json=rating).status_code in (200, 201)
    with store.session() as session:
        kept = session.get_one(Generation, choice["generation"])
        assert (kept.version_id, kept.logprobs, kept.text) == (0, [], choice["message"]["content"])
        assert kept.token_ids
    store.close()
