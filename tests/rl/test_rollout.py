"""Rollouts by engine, transformers and vLLM: the same policy answers, and what it drew by is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from lm.adapters import read_adapter
from lm.loading import Base
from lm.prompts import fit_chat
from lm.settings import BackendSettings
from problems import Problem
from rl.policy import make_policy, policy_adapter
from rl.rollout import EngineRollouts, Server, TransformersRollouts, make_rollouts, samplings, until_end
from rl.settings import PPOSettings

from ..lm.remote.fake_vllm import fake_vllm
from .test_ppo import PROMPTS, SETTINGS, curve, moved, trainer

KNOBS = PPOSettings(episodes=8, minibatch=4, max_tokens=10, prompt_tokens=40, rank=2)


@pytest.fixture
def training(tiny_base: Base) -> Any:
    """What a rollout function needs of a trainer, around a policy that has moved away from its base."""
    model = make_policy(tiny_base, None, KNOBS, seed=0)
    moved(SimpleNamespace(model=model), 0.1)  # type: ignore[arg-type]
    return SimpleNamespace(
        model=model, model_wrapped=model, accelerator=Accelerator(cpu=True), state=SimpleNamespace(global_step=6)
    )


def test_vllm_gives_the_tokens_and_log_probabilities_that_the_engine_does(
    tiny_base: Base, training: Any, tmp_path: Path
) -> None:
    own = EngineRollouts(tiny_base, KNOBS, seed=3)(PROMPTS, training)
    with fake_vllm(tiny_base) as (_, url):
        there = Server(BackendSettings("vllm", url, timeout=5.0), tmp_path)
        rollout = make_rollouts(tiny_base, replace(KNOBS, rollouts="vllm"), 3, there, tmp_path / "train")
        try:
            theirs = rollout(PROMPTS, training)
            written = read_adapter(tmp_path / "train/policy", tiny_base)
        finally:
            rollout.server.close()  # type: ignore[attr-defined]
    assert theirs["prompt_ids"] == own["prompt_ids"]
    assert theirs["completion_ids"] == own["completion_ids"]
    for ours, other in zip(own["logprobs"], theirs["logprobs"], strict=True):
        assert other == pytest.approx(ours, abs=1e-4)
    for name, (a, b) in policy_adapter(training.model).weights.items():
        assert torch.equal(written.weights[name][0], a)
        assert torch.equal(written.weights[name][1], b)


def test_transformers_answers_end_where_they_end_and_come_from_the_policy(tiny_base: Base, training: Any) -> None:
    torch.manual_seed(0)
    cold = replace(KNOBS, temperature=1e-4, max_tokens=24)
    done = TransformersRollouts(tiny_base, cold)(PROMPTS, training)
    greedy = EngineRollouts(tiny_base, replace(cold, temperature=0.0), seed=0)(PROMPTS, training)
    assert done["prompt_ids"] == greedy["prompt_ids"]
    assert done["completion_ids"] == greedy["completion_ids"]
    assert done["logprobs"] is None


def test_an_answer_goes_to_its_first_end() -> None:
    assert until_end([5, 6, 1, 0, 0], frozenset({1, 9})) == [5, 6, 1]
    assert until_end([5, 6], frozenset({1})) == [5, 6]


def test_long_prompts_are_cut_as_they_are_served(tiny_base: Base, training: Any) -> None:
    talk = [
        {"role": role, "content": "It left on Monday, I believe."}
        for role in ("user", "assistant", "user")
        for _ in "12"
    ]
    for rollout in (EngineRollouts(tiny_base, KNOBS, 0), TransformersRollouts(tiny_base, KNOBS)):
        (ids,) = rollout([talk], training)["prompt_ids"]
        assert ids == fit_chat(tiny_base, talk, KNOBS.prompt_tokens)
        assert len(ids) <= KNOBS.prompt_tokens


def test_seeds_hang_on_the_place_in_the_whole_rollout(training: Any) -> None:
    def drawn(process: int, processes: int, count: int) -> list[int]:
        here = SimpleNamespace(process_index=process, num_processes=processes)
        return [s.seed for s in samplings(KNOBS, 5, count, SimpleNamespace(accelerator=here, state=training.state))]

    assert drawn(0, 2, 4) + drawn(1, 2, 4) == drawn(0, 1, 8)
    assert len(set(drawn(0, 1, 8))) == 8


def test_ppo_learns_from_rollouts_by_transformers(tiny_base: Base, tmp_path: Path) -> None:
    settings = replace(SETTINGS, updates=2, rollouts="transformers")
    ppo = trainer(tiny_base, tmp_path, settings)
    ppo.train()
    assert len(curve(ppo, "ppo/score")) == 2
    assert curve(ppo, "ppo/importance") == [1.0, 1.0]
    assert curve(ppo, "ppo/logp_difference") == []  # nobody to agree with
    assert ppo.state.global_step == 8


def test_vllm_is_refused_where_it_cannot_be_right(tiny_base: Base, tmp_path: Path) -> None:
    knobs = replace(KNOBS, rollouts="vllm")
    with pytest.raises(Problem, match=r"ppo.rollouts is vllm, but"):
        make_rollouts(tiny_base, knobs, 0, None, tmp_path)
    there = Server(BackendSettings("vllm", "http://127.0.0.1:1"), tmp_path)
    with pytest.raises(Problem, match=r"ppo.temperature 0\.7"):
        make_rollouts(tiny_base, replace(knobs, temperature=0.7), 0, there, tmp_path)
