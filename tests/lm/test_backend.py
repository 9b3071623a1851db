"""The engine of this process, behind the interface that all backends have."""

from __future__ import annotations

from pathlib import Path

import pytest

from lm.adapters import write_adapter
from lm.backend import Backend, OwnEngine, Prompt
from lm.engine import Engine
from lm.loading import Base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from problems import Problem

from .conftest import MakeAdapter

MESSAGES = [{"role": "user", "content": "Where is my parcel?"}]
GREEDY = Sampling(temperature=0, max_tokens=12, ignore_eos=True)


def says(backend: Backend, base: Base, version: str = "0") -> list[int]:
    stream = backend.ask(Prompt(MESSAGES, encode_chat(base, MESSAGES)), GREEDY, version)
    list(stream)
    return stream.completion.token_ids


def test_versions_are_loaded_from_their_folders_and_let_go(
    tiny_base: Base, tmp_path: Path, make_adapter: MakeAdapter
) -> None:
    write_adapter(tmp_path / "a", make_adapter(), tiny_base)
    backend = OwnEngine(Engine(tiny_base, EngineSettings(slots=2, context=200)))
    assert (backend.base, backend.context) == (tiny_base, 200)
    backend.start()
    before = says(backend, tiny_base)
    backend.load("1", tmp_path / "a")
    assert says(backend, tiny_base, "1") != before
    assert says(backend, tiny_base) == before
    assert backend.figures().versions == ["0", "1"]
    assert backend.ready()
    backend.remove("1")
    with pytest.raises(Problem, match="No version 1"):
        says(backend, tiny_base, "1")
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    with pytest.raises(Problem, match="missing or damaged"):
        backend.load("2", tmp_path / "a")
    backend.close()
    with pytest.raises(Problem, match="closed"):
        says(backend, tiny_base)
