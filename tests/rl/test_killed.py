"""A training that SIGKILL struck in the middle of an optimizer step ends where one that was never struck does.

Run as a program it is the training that is struck: `python test_killed.py MODEL FOLDER`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from lm.loading import Base, load_base
from rl.anchor import adapter_parameters, anchor_here
from rl.arguments import prompt_stream, trainer_arguments
from rl.checkpoints import last_checkpoint
from rl.hold import Hold
from rl.policy import make_policy, policy_adapter
from rl.ppo import PPOTrainer
from rl.rollout import EngineRollouts
from rl.settings import AnchorSettings, PPOSettings

SETTINGS = PPOSettings(
    updates=3,
    episodes=8,
    minibatch=4,
    epochs=2,
    max_tokens=8,
    rank=2,
    learning_rate=3e-3,
    value_warmup=0,
    reward_scaling="running",
    save_every=1,
)
STRUCK = 6  # steps done before; the checkpoint before it is that of step 4
PROMPTS = [[{"role": "user", "content": text}] for text in ("Where?", "When does it come?", "Two plus three?", "Hi")]


class Struck(TrainerCallback):
    """Kills its own process after a backward pass and before the optimizer's step."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == STRUCK:
            os.kill(os.getpid(), signal.SIGKILL)


def vowels(completions: list[Any], **_: Any) -> list[float]:
    """Reward: share of vowels among an answer's characters."""
    texts = [completion[0]["content"] for completion in completions]
    return [2.0 * sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def trained(base: Base, folder: Path, callbacks: list[TrainerCallback]) -> PPOTrainer:
    """A training to its end, from the last complete checkpoint in `folder` on."""
    policy = make_policy(base, None, SETTINGS, seed=0)
    anchor = anchor_here(policy, {name: torch.ones_like(p) for name, p in adapter_parameters(policy).items()})
    hold = Hold(anchor, None, AnchorSettings(strength=1.0), SETTINGS.learning_rate, base.tokenizer.pad_token_id, seed=0)
    ppo = PPOTrainer(
        model=policy,
        tokenizer=base.tokenizer,
        settings=SETTINGS,
        arguments=trainer_arguments(SETTINGS, folder, seed=0, cpu=True),
        prompts=prompt_stream(PROMPTS, SETTINGS, seed=0),
        reward=vowels,
        rollout=EngineRollouts(base, SETTINGS, seed=0),
        callbacks=[hold, *callbacks],
    )
    begun = last_checkpoint(folder)
    ppo.train(resume_from_checkpoint=str(begun) if begun else None)
    return ppo


def test_killed_in_a_step_it_ends_where_one_never_killed_does(
    tiny_base: Base, tiny_folder: Path, tmp_path: Path
) -> None:
    struck = tmp_path / "struck"
    ended = subprocess.run(
        [sys.executable, __file__, str(tiny_folder), str(struck)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),  # sums in another order round otherwise
        },
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert last_checkpoint(struck) == struck / "checkpoint-4"
    resumed = trained(tiny_base, struck, [])
    whole = trained(tiny_base, tmp_path / "whole", [])
    assert resumed.state.global_step == whole.state.global_step == 12
    assert resumed.controller.beta == whole.controller.beta
    assert resumed.scale == whole.scale
    for name, value in whole.critic.state_dict().items():
        assert torch.equal(resumed.critic.state_dict()[name], value), name
    expected = policy_adapter(whole.model).weights
    for name, matrices in policy_adapter(resumed.model).weights.items():
        for ours, theirs in zip(matrices, expected[name], strict=True):
            assert torch.equal(ours, theirs), name


if __name__ == "__main__":
    trained(load_base(sys.argv[1], "cpu", "float32"), Path(sys.argv[2]), [Struck()])
