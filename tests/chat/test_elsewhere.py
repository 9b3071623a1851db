"""The whole chat on a server elsewhere: versions change there too, and a lost server is said in plain words."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from chat.settings import ChatSettings
from lm.loading import Base
from lm.remote.vllm import VLLM
from lm.settings import BackendSettings

from ..lm.remote.fake_vllm import fake_vllm
from .conftest import add_adapter, running_chat, serve_version, until

KEY = "sk-very-secret"
FIELDS = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}


def test_versions_are_promoted_at_the_server_and_a_refusal_changes_nothing(
    tmp_path: Path, tiny_base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ChatSettings(poll_seconds=0.05, pair_share=0.0)
    with fake_vllm(tiny_base) as (fake, url):
        fake.key = KEY
        backend = VLLM(tiny_base, BackendSettings("vllm", url, KEY, timeout=5.0), tmp_path)
        with caplog.at_level(logging.INFO), running_chat(tmp_path, tiny_base, settings, backend=backend) as chat:
            before = chat.ask(**FIELDS, logprobs=True).json()
            listed = [each["logprob"] for each in before["choices"][0]["logprobs"]["content"]]
            asked = chat.generation(before["id"])
            special = tiny_base.tokenizer.all_special_ids
            told = zip(asked.token_ids, asked.logprobs, strict=True)
            assert listed == [logprob for token, logprob in told if token not in special]
            good, bad = add_adapter(chat.store, tiny_base, 1), add_adapter(chat.store, tiny_base, 2)
            serve_version(chat.store, good)
            until(lambda: chat.client.get("/healthz").json()["version"] == good)
            kept = chat.generation(chat.ask(**FIELDS).json()["id"])
            assert kept.version_id == good
            assert len(kept.token_ids) == len(kept.logprobs) == 12
            assert kept.token_ids != chat.generation(before["id"]).token_ids
            fake.refuses = "LoRA rank 64 is greater than max_lora_rank 16."
            serve_version(chat.store, bad)
            refused = until(lambda: chat.client.get("/healthz").json()["refused"])
            assert (refused[0]["version"], "rank 64" in refused[0]["why"]) == (bad, True)
            assert chat.generation(chat.ask(**FIELDS).json()["id"]).version_id == good
    assert KEY not in caplog.text


def test_a_lost_server_is_503_and_not_ready(tmp_path: Path, tiny_base: Base, caplog: pytest.LogCaptureFixture) -> None:
    with fake_vllm(tiny_base) as (_, url):
        backend = VLLM(tiny_base, BackendSettings("vllm", url), tmp_path)
        backend.start()
        home = tmp_path / "home"
        chat_on = running_chat(home, tiny_base, ChatSettings(pair_share=0.0), backend=backend)
        chat = chat_on.__enter__()
        assert chat.client.get("/readyz").status_code == 200
        assert chat.ask(**FIELDS).status_code == 200
    try:
        lost = chat.ask(**FIELDS)
        assert lost.status_code == 503
        assert lost.json()["error"]["code"] == "backend_unavailable"
        assert "cannot be reached" in lost.json()["error"]["message"]
        assert url not in lost.text, "where it stands is no business of those who ask"
        until(lambda: chat.client.get("/readyz").status_code == 503)
        assert chat.client.get("/healthz").status_code == 200
        assert "Traceback" not in caplog.text
    finally:
        chat_on.__exit__(None, None, None)
