"""The updates other than PPO on a tiny model: each moves the policy the right way, is held, and can be resumed."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback
from trl import DPOTrainer, KTOTrainer, RLOOTrainer

from lm.adapters import Adapter
from lm.loading import Base, load_base
from problems import Problem
from rl.algorithms import _ending, offline_trainer, online_trainer
from rl.anchor import adapter_parameters, anchor_here
from rl.arguments import prompt_stream
from rl.checkpoints import last_checkpoint
from rl.hold import Hold
from rl.policy import make_policy, policy_adapter
from rl.ppo import RewardFunction
from rl.preference_data import encode_completed
from rl.settings import AlgorithmSettings, AnchorSettings, PPOSettings
from store.frozen import Frozen, Pair

from .rewarded import Paid, likelihoods, vowels

PPO = PPOSettings(
    updates=4, episodes=16, minibatch=8, epochs=2, max_tokens=12, prompt_tokens=64, rank=4, learning_rate=3e-3,
    save_every=1,
)  # fmt: skip
SETTINGS = AlgorithmSettings(group=4, learning_rate=3e-3, sft_learning_rate=3e-3, epochs=2, batch=4, save_every=4)
PROMPTS = [[{"role": "user", "content": text}] for text in ("Where?", "When does it come?", "Two plus three?", "Hi")]
PAIRS = [
    Pair(prompt, f"On Monday {i}.", f"Please call again {i}!", 1.0, "correction", "ann", f"c{i}", "train")
    for i, prompt in enumerate(PROMPTS * 2)
]
FROZEN = Frozen("0" * 64, PAIRS, [], [])
ONLINE, OFFLINE = ("grpo", "rloo"), ("dpo", "kto", "sft")


@pytest.fixture(scope="module")
def parent(tiny_base: Base) -> Adapter:
    """A version that answers otherwise than the base: both matrices of its adapter are far from zero."""
    policy = make_policy(tiny_base, None, PPO, seed=3)
    generator = torch.Generator().manual_seed(3)
    for parameter in adapter_parameters(policy).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return policy_adapter(policy)


def trainer(
    algorithm: str,
    base: Base,
    parent: Adapter | None,
    folder: Path,
    ppo: PPOSettings = PPO,
    settings: AlgorithmSettings = SETTINGS,
    callbacks: list[TrainerCallback] | None = None,
    reward: RewardFunction = vowels,
    seed: int = 0,
) -> Trainer:
    model = make_policy(base, parent, ppo, seed)
    if algorithm in ONLINE:
        return online_trainer(
            algorithm,
            base,
            model,
            reward,
            prompt_stream(PROMPTS, ppo, seed),
            ppo,
            settings,
            folder,
            seed,
            callbacks=callbacks or [],
        )
    return offline_trainer(algorithm, base, model, FROZEN, ppo, settings, folder, seed, callbacks=callbacks or [])


def told(base: Base, answers: list[str]) -> list[tuple[list[int], int]]:
    """Each pair's prompt with an answer, and where the answer begins."""
    encoded = [encode_completed(base, pair.messages, text, PPO, 64) for pair, text in zip(PAIRS, answers, strict=True)]
    return [(prompt + answer, len(prompt)) for prompt, answer in encoded]


def curve(trained: Trainer, figure: str) -> list[float]:
    return [row[figure] for row in trained.state.log_history if figure in row]


def test_what_is_rewarded_is_fined_by_its_prompts_own_figure() -> None:
    paid = _ending(lambda completions, **_: [float(len(each)) for each in completions], frozenset({9}))
    rewards = paid(completions=["a", "bb", "ccc"], completion_ids=[[1, 9], [1, 2], [1, 2]], missing_eos=[-1, -0.25, 0])
    assert rewards == [1.0, 1.75, 3.0]


@pytest.mark.parametrize("algorithm", OFFLINE)
def test_what_people_said_is_what_the_policy_learns(
    tiny_base: Base, parent: Adapter, tmp_path: Path, algorithm: str
) -> None:
    taught = trainer(algorithm, tiny_base, parent, tmp_path, settings=replace(SETTINGS, epochs=6))
    sides = told(tiny_base, [pair.first for pair in PAIRS]), told(tiny_base, [pair.second for pair in PAIRS])
    before = [likelihoods(taught.model, rows, tiny_base) for rows in sides]
    taught.train()
    after = [likelihoods(taught.model, rows, tiny_base) for rows in sides]
    if algorithm == "sft":
        assert (after[0] > before[0] + 1.0).all()
    else:
        assert ((after[0] - after[1]) > (before[0] - before[1]) + 1.0).all()


@pytest.mark.parametrize("algorithm", ONLINE)
def test_what_is_rewarded_is_what_the_policy_learns(
    tiny_base: Base, parent: Adapter, tmp_path: Path, algorithm: str, seed: int
) -> None:
    """One rollout of 64 answers, learned from in small steps: what was paid more becomes likelier.

    The correlation was .82 on average over three seeds with RLOO, .77 at the least. Fisher's z of .82 is 1.16 and of .4
    is .42; its standard error with 64 answers less four means is 1 / sqrt(60 - 3) = .13. So .4 is 5.6 standard errors
    away: missed by accident once in 90 million draws, if answers are independent. Not measured: how far trainings on
    other seeds and processors spread beyond that, and GRPO at this learning rate.
    """
    ppo = replace(PPO, updates=1, episodes=64, minibatch=32, epochs=8, clip=0.5, learning_rate=1e-3, missing_eos=0.0)
    paid = Paid()
    settings = replace(SETTINGS, group=8, kl=0.005)
    taught = trainer(algorithm, tiny_base, parent, tmp_path, ppo, settings, reward=paid, seed=seed)
    begin = make_policy(tiny_base, parent, ppo, seed)
    taught.train()
    assert len(paid.rewards) == 64
    assert paid.followed(begin, taught.model, tiny_base) > 0.4


@pytest.mark.parametrize("algorithm", ONLINE)
def test_without_the_engine_transformers_answers(tiny_base: Base, tmp_path: Path, algorithm: str) -> None:
    taught = trainer(algorithm, tiny_base, None, tmp_path, replace(PPO, updates=1, rollouts="transformers"))
    taught.train()
    assert 0 < curve(taught, "completions/mean_length")[0] <= PPO.max_tokens
    assert taught.state.global_step == taught.state.max_steps


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "dpo", "kto"])
def test_the_reference_is_the_parent_version(tiny_base: Base, parent: Adapter, tmp_path: Path, algorithm: str) -> None:
    """A policy that stands still stays at its reference: no KL, and no margin, so that DPO's loss is log 2."""
    still = trainer(
        algorithm,
        tiny_base,
        parent,
        tmp_path,
        replace(PPO, updates=1, learning_rate=0.0),
        replace(SETTINGS, learning_rate=0.0, epochs=1),
    )
    still.train()
    if algorithm in OFFLINE:
        assert curve(still, "loss")
        for loss in curve(still, "loss"):
            assert loss == pytest.approx(math.log(2) if algorithm == "dpo" else 0.5, abs=1e-4)
    for kl in curve(still, "kl"):
        assert kl == pytest.approx(0.0, abs=1e-4)
    assert algorithm == "dpo" or curve(still, "kl")


def test_a_base_in_bfloat16_is_trained_by_an_adapter_in_float32(tiny_folder: Path, tmp_path: Path) -> None:
    base = load_base(str(tiny_folder), device="cpu", dtype="bfloat16")
    taught = trainer("dpo", base, None, tmp_path)
    taught.train()
    losses = curve(taught, "loss")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-2)
    assert losses[-1] < losses[0] - 0.1
    assert {parameter.dtype for parameter in adapter_parameters(taught.model).values()} == {torch.float32}


class StopHalfway(TrainerCallback):
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= state.max_steps // 2


@pytest.mark.parametrize("algorithm", [*ONLINE, *OFFLINE])
def test_stopped_and_resumed_equals_never_stopped(
    tiny_base: Base, parent: Adapter, tmp_path: Path, algorithm: str
) -> None:
    ppo, settings = replace(PPO, updates=2), replace(SETTINGS, save_every=2 if algorithm != "kto" else 4)
    whole = trainer(algorithm, tiny_base, parent, tmp_path / "whole", ppo, settings)
    whole.train()
    halved = tmp_path / "halved"
    trainer(algorithm, tiny_base, parent, halved, ppo, settings, [StopHalfway()]).train()
    begun = last_checkpoint(halved)
    assert begun is not None
    assert begun.name == f"checkpoint-{whole.state.max_steps // 2}"
    resumed = trainer(algorithm, tiny_base, parent, halved, ppo, settings)
    resumed.train(resume_from_checkpoint=str(begun))
    assert resumed.state.global_step == whole.state.global_step == whole.state.max_steps
    expected = policy_adapter(whole.model).weights
    for name, (a, b) in policy_adapter(resumed.model).weights.items():
        torch.testing.assert_close(a, expected[name][0], rtol=0, atol=1e-6)
        torch.testing.assert_close(b, expected[name][1], rtol=0, atol=1e-6)
    assert [each.name for each in halved.glob("checkpoint-*")] == [f"checkpoint-{whole.state.max_steps}"]


@pytest.mark.parametrize("algorithm", [*ONLINE, *OFFLINE])
def test_a_heavy_anchor_holds_the_policy_near_its_parent(
    tiny_base: Base, parent: Adapter, tmp_path: Path, algorithm: str
) -> None:
    begin = make_policy(tiny_base, parent, PPO, seed=0)
    anchor = anchor_here(begin, {name: torch.ones_like(p) for name, p in adapter_parameters(begin).items()})
    ppo, settings = replace(PPO, updates=1), replace(SETTINGS, epochs=1)

    def distance(strength: float) -> float:
        hold = Hold(anchor, None, AnchorSettings(strength=strength), 3e-3, tiny_base.tokenizer.pad_token_id, 0)
        held = trainer(algorithm, tiny_base, parent, tmp_path / str(strength), ppo, settings, [hold])
        held.train()
        return anchor.penalty(held.model, 2.0).item()

    assert distance(1e4) < 0.5 * distance(0.0)


def test_settings_that_cannot_be_batched_are_refused(tiny_base: Base, tmp_path: Path) -> None:
    for algorithm, name, settings in (
        ("grpo", "algorithms.group 5", replace(SETTINGS, group=5)),
        ("rloo", "algorithms.group 1", replace(SETTINGS, group=1)),
        ("kto", "algorithms.batch is 1", replace(SETTINGS, batch=1)),
    ):
        with pytest.raises(Problem, match=name) as refused:
            trainer(algorithm, tiny_base, None, tmp_path, settings=settings)
        assert refused.value.status == 2


def test_trl_still_has_the_methods_that_are_overridden() -> None:
    def parameters(kind: type[Trainer], name: str) -> list[str]:
        return list(inspect.signature(getattr(kind, name)).parameters)

    assert parameters(RLOOTrainer, "_tokenize_prompts") == ["self", "prompts"]
    assert parameters(RLOOTrainer, "_generate_single_turn") == ["self", "prompt_ids", "images", "multimodal_fields"]
    for kind in (DPOTrainer, KTOTrainer):
        prepare = parameters(kind, "_prepare_dataset")
        assert prepare == ["self", "dataset", "processing_class", "args", "dataset_name"]
