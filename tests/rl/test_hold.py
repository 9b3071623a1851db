"""What holds a training: the anchor near its centre, replay near the parent's answers, else nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from lm.loading import Base
from problems import Problem
from rl.anchor import Anchor, Space, adapter_parameters, adapter_state, anchor_here
from rl.arguments import prompt_stream, trainer_arguments
from rl.checkpoints import last_checkpoint
from rl.hold import Hold, check_anchor_settings, refuse_shards
from rl.policy import make_policy
from rl.ppo import PPOTrainer
from rl.replay import ParentKL, Replay
from rl.rollout import EngineRollouts
from rl.settings import AnchorSettings, PPOSettings

ONE_PROCESS = SimpleNamespace(process_index=0, world_size=1)
ANSWERS = [([7, 8, 9, 10, 11, 12], 3), ([20, 21, 22, 23], 1), ([30, 31, 32, 33, 34], 2)]


@pytest.fixture
def policy(tiny_base: Base) -> PeftModel:
    return make_policy(tiny_base, None, PPOSettings(rank=3, alpha=6.0), seed=0)


def ones(model: PeftModel, space: Space = "matrices") -> Anchor:
    return anchor_here(model, {name: torch.ones_like(p) for name, p in adapter_state(model, space).items()}, space)


def step(hold: Hold, model: PeftModel, number: int = 0, gradient: float = 1.0) -> dict[str, torch.Tensor]:
    """What `hold` adds to the gradients in a step in which they are `gradient`."""
    for parameter in adapter_parameters(model).values():
        parameter.grad = torch.full_like(parameter, gradient)
    state = SimpleNamespace(global_step=number)
    hold.on_train_begin(ONE_PROCESS, state, None, model=model)
    hold.on_pre_optimizer_step(ONE_PROCESS, state, None, model=model)
    return {name: parameter.grad - gradient for name, parameter in adapter_parameters(model).items()}


def train(base: Base, folder: Path, hold: Hold, model: PeftModel) -> None:
    """A few steps of another algorithm than PPO."""
    rows = [{"prompt": "Where is it?", "completion": f" It left on day {i}."} for i in range(8)]
    arguments = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        learning_rate=3e-3,
        max_steps=10,
        per_device_train_batch_size=4,
        activation_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=base.tokenizer,
        callbacks=[hold],
    )
    trainer.train()


@pytest.mark.parametrize("held", ["strength", "replay"])
def test_what_is_held_stays_near_the_parent(tiny_base: Base, tmp_path: Path, held: str) -> None:
    def drift(strength: float) -> float:
        model = make_policy(tiny_base, None, PPOSettings(rank=4), seed=0)
        anchor = ones(model)
        replay = Replay(ANSWERS, anchor.centre)
        settings = replace(AnchorSettings(strength=0.0), **{held: strength})
        train(tiny_base, tmp_path, Hold(anchor, replay, settings, 3e-3, tiny_base.tokenizer.pad_token_id, 0), model)
        if held == "strength":
            return anchor.penalty(model, 2.0).item()
        return ParentKL(model, replay, 0, 4).gradient([0, 1, 2])[0].item()

    free = drift(0.0)
    assert free > 1e-3
    assert drift(1e4 if held == "strength" else 30.0) < 0.5 * free


def test_a_step_without_a_gradient_is_left_as_it_is(policy: PeftModel) -> None:
    anchor = ones(policy)
    hold = Hold(anchor, Replay(ANSWERS, anchor.centre), AnchorSettings(strength=5.0, replay=1.0), 1e-3, 0, seed=0)
    with torch.no_grad():
        for parameter in adapter_parameters(policy).values():
            parameter.add_(0.1)
    assert not any(added.any() for added in step(hold, policy, gradient=0.0).values())
    assert all(added.any() for added in step(hold, policy).values())


def test_replayed_answers_depend_on_seed_and_step_alone(policy: PeftModel) -> None:
    replay = Replay(ANSWERS * 4, {name: p.detach().clone() for name, p in adapter_parameters(policy).items()})
    with torch.no_grad():
        for parameter in adapter_parameters(policy).values():
            parameter.add_(0.1)

    def added(seed: int, number: int) -> torch.Tensor:
        settings = AnchorSettings(strength=0.0, replay=1.0, replay_batch=2)
        found = step(Hold(None, replay, settings, 1e-3, 0, seed), policy, number)
        return torch.cat([value.flatten() for value in found.values()])

    assert torch.equal(added(0, 5), added(0, 5))
    assert not torch.equal(added(0, 5), added(0, 6))
    assert not torch.equal(added(0, 5), added(1, 5))


def test_parameters_spread_over_processes_are_refused(policy: PeftModel) -> None:
    refuse_shards(policy)
    parameter = next(iter(adapter_parameters(policy).values()))
    parameter.ds_id = 3
    anchor = ones(policy)
    with pytest.raises(Problem, match="ZeRO-3 spreads"):
        step(Hold(anchor, None, AnchorSettings(strength=1.0), 1e-3, 0, seed=0), policy)
    step(Hold(anchor, None, AnchorSettings(strength=0.0), 1e-3, 0, seed=0), policy)


@pytest.mark.parametrize("space", ["matrices", "product"])
def test_a_held_training_that_resumes_ends_where_one_never_stopped_does(
    tiny_base: Base, tmp_path: Path, space: Space
) -> None:
    settings = PPOSettings(
        updates=2, episodes=8, minibatch=4, epochs=1, max_tokens=8, rank=2, value_warmup=0, save_every=1
    )
    held = AnchorSettings(strength=10.0, replay=1.0, replay_batch=2)
    prompts = [[{"role": "user", "content": text}] for text in ("Where?", "Hi")]

    def training(folder: Path) -> PPOTrainer:
        model = make_policy(tiny_base, None, settings, seed=0)
        parent = {name: p.detach().clone() for name, p in adapter_parameters(model).items()}
        hold = Hold(ones(model, space), Replay(ANSWERS, parent), held, settings.learning_rate, 0, seed=0)
        return PPOTrainer(
            model=model,
            tokenizer=tiny_base.tokenizer,
            settings=settings,
            arguments=trainer_arguments(settings, folder, seed=0, cpu=True),
            prompts=prompt_stream(prompts, settings, seed=0),
            reward=lambda completions, **_: [float(len(each[0]["content"])) for each in completions],
            rollout=EngineRollouts(tiny_base, settings, seed=0),
            callbacks=[hold],
        )

    whole = training(tmp_path / "whole")
    whole.train()

    class StopHalfway(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= state.max_steps // 2

    first = training(tmp_path / "halves")
    first.add_callback(StopHalfway())
    first.train()
    halves = training(tmp_path / "halves")
    halves.train(resume_from_checkpoint=str(last_checkpoint(tmp_path / "halves")))
    expected = adapter_parameters(whole.model)
    for name, parameter in adapter_parameters(halves.model).items():
        torch.testing.assert_close(parameter, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"), [("share", 0.0), ("share", float("nan")), ("replay", -1.0), ("decay", 1.5), ("space", "sums")]
)
def test_a_setting_out_of_bounds_is_refused_by_its_name(field: str, value: Any) -> None:
    check_anchor_settings(AnchorSettings())
    with pytest.raises(Problem, match=rf"anchor\.{field} is") as refused:
        check_anchor_settings(replace(AnchorSettings(), **{field: value}))
    assert refused.value.status == 2
