"""Versions in the engine: side by side, installed, replaced and removed while others answer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lm.adapters import WEIGHTS, Adapter, read_adapter, write_adapter
from lm.engine import Engine
from lm.loading import Base
from lm.settings import Sampling
from problems import Problem

from .conftest import GREEDY, PROMPTS, MakeAdapter, drain, greedy_alone

pytestmark = pytest.mark.usefixtures("widths")

OTHER_MODULES = ("model.layers.1.self_attn.v_proj", "model.layers.0.mlp.up_proj")


def test_adapters_side_by_side_equal_peft(
    load_tiny: Callable[[], Base], tiny_base: Base, engine: Engine, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    from peft import PeftModel

    adapters = {
        "1": make_adapter(rank=4, seed=1),
        "2": make_adapter(rank=2, alpha=2.0, seed=2, modules=OTHER_MODULES),
        "3": make_adapter(rank=3, seed=3, modules=("lm_head", "model.layers.0.self_attn.q_proj"), scale=0.5),
    }
    alone: dict[str, Any] = {"0": tiny_base.model}
    for version, adapter in adapters.items():
        write_adapter(tmp_path / version, adapter, tiny_base)
        engine.install(version, read_adapter(tmp_path / version, tiny_base))
        alone[version] = PeftModel.from_pretrained(load_tiny().model, tmp_path / version)
    asked = [("1", 3), ("0", 4), ("2", 5), ("3", 1), ("1", 7), ("2", 0), ("0", 6), ("3", 2)]
    streams = [engine.submit(PROMPTS[prompt], GREEDY, version) for version, prompt in asked]
    drain(engine)
    answers = [stream.completion.token_ids for stream in streams]
    assert answers == [greedy_alone(alone[version], PROMPTS[prompt], 12) for version, prompt in asked]
    assert len({tuple(greedy_alone(model, PROMPTS[4], 12)) for model in alone.values()}) == 4, "they do differ"


def test_a_stream_keeps_the_version_it_began_with(engine: Engine, make_adapter: MakeAdapter) -> None:
    engine.install("1", make_adapter(seed=1))
    expected = engine.generate([PROMPTS[4]], GREEDY, "1")[0].token_ids
    stream = engine.submit(PROMPTS[4], GREEDY, "1")
    for _ in range(4):
        engine.step()
    with pytest.raises(Problem, match="still use version 1"):
        engine.install("1", make_adapter(seed=2))
    engine.remove("1")
    engine.install("1", make_adapter(seed=2))
    other = engine.submit(PROMPTS[4], GREEDY, "1")
    drain(engine)
    assert stream.completion.token_ids == expected
    assert stream.version == "1"
    assert other.completion.token_ids != expected


def test_remove_frees_when_the_last_request_ends(engine: Engine, make_adapter: MakeAdapter) -> None:
    engine.install("1", make_adapter(seed=1))
    held = weakref.ref(engine._versions["1"])
    stream = engine.submit(PROMPTS[4], GREEDY, "1")
    engine.step()
    engine.remove("1")
    assert engine.versions() == ["0"]
    with pytest.raises(Problem, match="No version 1"):
        engine.submit(PROMPTS[4], GREEDY, "1")
    gc.collect()
    assert held() is not None
    drain(engine)
    assert len(stream.completion.token_ids) == 12
    gc.collect()
    assert held() is None


def test_replacing_a_policy_between_rounds(engine: Engine, make_adapter: MakeAdapter) -> None:
    answers = []
    for seed in (1, 2, 1):
        engine.install("policy", make_adapter(seed=seed))
        answers.append(engine.generate([PROMPTS[4]], GREEDY, "policy")[0].token_ids)
    assert answers[0] == answers[2] != answers[1]
    engine.install("policy", None)
    assert engine.generate([PROMPTS[4]], GREEDY, "policy")[0] == engine.generate([PROMPTS[4]], GREEDY)[0]


def test_installed_matrices_are_a_copy(engine: Engine, make_adapter: MakeAdapter) -> None:
    adapter = make_adapter(seed=1)
    engine.install("1", adapter)
    before = engine.generate([PROMPTS[4]], GREEDY, "1")[0].token_ids
    for a, b in adapter.weights.values():
        a.mul_(3)
        b.zero_()
    assert engine.generate([PROMPTS[4]], GREEDY, "1")[0].token_ids == before


def test_the_base_cannot_be_replaced_or_removed(engine: Engine, make_adapter: MakeAdapter) -> None:
    with pytest.raises(Problem, match="base itself"):
        engine.install("0", make_adapter())
    with pytest.raises(Problem, match="base itself"):
        engine.remove("0")
    with pytest.raises(Problem, match="No version 5"):
        engine.remove("5")


def test_a_bad_adapter_leaves_the_old_one_serving(
    tiny_base: Base, engine: Engine, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    engine.install("1", make_adapter(seed=1))
    before = engine.generate([PROMPTS[4]], GREEDY, "1")[0].token_ids
    broken = make_adapter(seed=2)
    next(iter(broken.weights.values()))[1][0, 0] = float("nan")
    mismatched = Adapter(4, 8.0, {"model.layers.0.self_attn.q_proj": (torch.zeros(4, 31), torch.zeros(32, 4))})
    for adapter, why in ((broken, "NaN"), (mismatched, "needs")):
        with pytest.raises(Problem, match=why):
            engine.install("1", adapter)
    write_adapter(tmp_path / "2", make_adapter(seed=2), tiny_base)
    (tmp_path / "2" / WEIGHTS).write_bytes(b"not tensors")
    with pytest.raises(Problem, match="damaged"):
        engine.install("1", read_adapter(tmp_path / "2", tiny_base))
    assert engine.generate([PROMPTS[4]], GREEDY, "1")[0].token_ids == before


def test_installing_does_not_wait_for_a_busy_engine(running: Engine, make_adapter: MakeAdapter) -> None:
    stream = running.submit(PROMPTS[0], Sampling(max_tokens=500, ignore_eos=True))
    pieces = iter(stream)
    next(pieces)
    for version in range(1, 6):
        running.install(str(version), make_adapter(seed=version))
    assert not stream.done
    stream.cancel()
