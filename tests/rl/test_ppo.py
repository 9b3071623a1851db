"""PPO on a tiny model: it learns, it resumes as if it had never stopped, and TRL keeps its side of the contract."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOTrainer

from lm.loading import Base
from problems import Problem
from rl.policy import make_policy, policy_adapter
from rl.ppo import PPOTrainer, last_checkpoint, prompt_stream, trainer_arguments
from rl.rollout import EngineRollouts
from rl.settings import PPOSettings

SETTINGS = PPOSettings(
    updates=4,
    episodes=16,
    minibatch=8,
    epochs=2,
    max_tokens=12,
    rank=4,
    learning_rate=3e-3,
    value_warmup=1,
    save_every=1,
)
PROMPTS = [[{"role": "user", "content": text}] for text in ("Where?", "When does it come?", "Two plus three?", "Hi")]


def vowels(completions: list[Any], **_: Any) -> list[float]:
    """Reward: share of vowels among an answer's characters."""
    texts = [completion[0]["content"] for completion in completions]
    return [2.0 * sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def trainer(
    base: Base,
    folder: Path,
    settings: PPOSettings = SETTINGS,
    callbacks: list[TrainerCallback] | None = None,
) -> PPOTrainer:
    return PPOTrainer(
        model=make_policy(base, None, settings, seed=0),
        tokenizer=base.tokenizer,
        settings=settings,
        arguments=trainer_arguments(settings, folder, seed=0, cpu=True),
        prompts=prompt_stream(PROMPTS, settings, seed=0),
        reward=vowels,
        rollout=EngineRollouts(base, settings, seed=0),
        callbacks=callbacks,
    )


def curve(ppo: PPOTrainer, figure: str) -> list[float]:
    return [row[figure] for row in ppo.state.log_history if figure in row]


def test_it_learns_what_is_rewarded_and_the_kl_grows_from_nought(tiny_base: Base, tmp_path: Path) -> None:
    ppo = trainer(tiny_base, tmp_path, replace(SETTINGS, updates=20, episodes=32, minibatch=16, kl=0.01))
    ppo.train()
    scores, kl = curve(ppo, "ppo/score"), curve(ppo, "ppo/kl")
    assert len(scores) == 20
    assert sum(scores[-4:]) / 4 > sum(scores[:4]) / 4 + 0.1
    assert abs(kl[0]) < 1e-4
    assert kl[-1] > 0.05
    assert max(curve(ppo, "ppo/logp_difference")) < 1e-3


def test_the_policy_stands_still_while_the_critic_warms_up(tiny_base: Base, tmp_path: Path) -> None:
    ppo = trainer(tiny_base, tmp_path, replace(SETTINGS, updates=2, value_warmup=2))
    before = policy_adapter(ppo.model)
    critic = {name: value.clone() for name, value in ppo.critic.state_dict().items()}
    ppo.train()
    after = policy_adapter(ppo.model)
    for name, (a, b) in before.weights.items():
        assert torch.equal(a, after.weights[name][0])
        assert torch.equal(b, after.weights[name][1])
    assert any(not torch.equal(value, ppo.critic.state_dict()[name]) for name, value in critic.items())


def test_stopped_and_resumed_equals_never_stopped(tiny_base: Base, tmp_path: Path) -> None:
    whole = trainer(tiny_base, tmp_path / "whole")
    whole.train()

    class StopHalfway(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= state.max_steps // 2

    trainer(tiny_base, tmp_path / "halves", callbacks=[StopHalfway()]).train()
    (checkpoint,) = (tmp_path / "halves").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-8"
    assert json.loads((checkpoint / "ppo.json").read_text())["rollouts"] == 2
    halves = trainer(tiny_base, tmp_path / "halves")
    halves.train(resume_from_checkpoint=str(checkpoint))
    assert halves.controller.beta == whole.controller.beta
    for name, value in whole.critic.state_dict().items():
        torch.testing.assert_close(halves.critic.state_dict()[name], value, rtol=0, atol=1e-6)
    expected = policy_adapter(whole.model).weights
    for name, (a, b) in policy_adapter(halves.model).weights.items():
        torch.testing.assert_close(a, expected[name][0], rtol=0, atol=1e-6)
        torch.testing.assert_close(b, expected[name][1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("cut", ["_save_optimizer_and_scheduler", "_save_rng_state"])
def test_cut_while_it_saves_the_checkpoint_before_is_still_there(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    assert last_checkpoint(tmp_path) is None
    ppo = trainer(tiny_base, tmp_path)
    saves = getattr(ppo, cut)

    def dies(folder: str) -> None:
        if folder.endswith("-8"):
            raise KeyboardInterrupt
        saves(folder)

    monkeypatch.setattr(ppo, cut, dies)
    with pytest.raises(KeyboardInterrupt):
        ppo.train()
    assert (tmp_path / "checkpoint-8").is_dir()  # it was begun
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    again = trainer(tiny_base, tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.state.global_step == 16
    assert [each.name for each in tmp_path.glob("checkpoint-*")] == ["checkpoint-16"]


def test_settings_that_cannot_be_batched_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"ppo.episodes is 20"):
        trainer_arguments(replace(SETTINGS, episodes=20), tmp_path, seed=0, cpu=True)
    with pytest.raises(Problem, match="3 processes cannot share"):
        trainer_arguments(SETTINGS, tmp_path, seed=0, cpu=True, processes=3)
    with pytest.raises(Problem, match="two optimizer steps"):
        trainer_arguments(replace(SETTINGS, minibatch=16, epochs=1), tmp_path, seed=0, cpu=True)


def test_trl_still_has_the_methods_that_are_overridden() -> None:
    def parameters(name: str) -> list[str]:
        return list(inspect.signature(getattr(GRPOTrainer, name)).parameters)

    assert parameters("_calculate_rewards") == ["self", "inputs", "prompts", "completions", "completion_ids_list"]
    assert parameters("_compute_loss") == ["self", "model", "inputs"]
    assert parameters("_generate_and_score_completions") == ["self", "inputs"]
    logps = parameters("_get_per_token_logps_and_entropies")
    assert logps[:5] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]


def test_a_rollout_carries_token_level_advantages_values_and_returns(tiny_base: Base, tmp_path: Path) -> None:
    ppo = trainer(tiny_base, tmp_path, replace(SETTINGS, value_warmup=0))
    ppo.model.train()
    batch = ppo._generate_and_score_completions([{"prompt": prompt} for prompt in PROMPTS for _ in range(2)])
    shape = batch["completion_ids"].shape
    for name in ("advantages", "values", "returns", "old_per_token_logps", "ref_per_token_logps"):
        assert batch[name].shape == shape, name
    mask = batch["completion_mask"].bool()
    assert abs(batch["advantages"][mask].mean().item()) < 1e-5
    torch.testing.assert_close(
        batch["sampling_per_token_logps"][mask], batch["old_per_token_logps"][mask], atol=1e-4, rtol=0
    )
