"""The two steps of an update that run the policy: measuring the anchor, and training by PPO or another algorithm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import PrinterCallback, TrainerCallback, TrainerState
from transformers.integrations.integration_utils import TensorBoardCallback

from lm.adapters import Adapter
from lm.engine import Engine
from lm.loading import Base
from lm.offline import offline_settings
from lm.prompts import Message
from lm.settings import Sampling
from reward.model import RewardModel
from rl.algorithms import offline_rate, offline_trainer, online_trainer
from rl.anchor import Anchor, adapter_parameters, anchor_here, fisher_information
from rl.arguments import prompt_stream, trainer_arguments
from rl.checkpoints import last_checkpoint
from rl.encoded_prompts import encode_prompt
from rl.hold import Hold
from rl.plots import CURVE, draw_curves
from rl.policy import make_policy, policy_adapter
from rl.ppo import PPOTrainer
from rl.replay import Replay
from rl.rewards import RewardSpread
from rl.rollout import Server, make_rollouts
from rl.settings import Algorithm, AlgorithmSettings, AnchorSettings, PPOSettings
from rl.stopping import Stopping
from store.frozen import Frozen

Progress = Callable[[str, int, int], None]


def measure_anchor(
    base: Base,
    parent: Adapter | None,
    older: Anchor | None,
    prompts: Sequence[Sequence[Message]],
    ppo: PPOSettings,
    settings: AnchorSettings,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Anchor | None, Replay, list[float]]:
    """The anchor around the parent version, what is replayed, and how often the parent ends its answers by itself.

    Replayed are the parent's own answers to old prompts, which the Fisher information of its adapter is measured on.
    Where `settings.strength` is 0 there is no anchor, and none is measured.

    Args:
        older: the parent's own anchor, whose Fisher information is carried over as `settings.memory` says; left behind
            where it was measured in another space than `settings.space`.
        prompts: what people asked until now; asked in turn until `settings.samples` answers are there.

    Returns:
        The anchor, the replayed answers, and for each of `prompts` the share of its answers that ended within
        `ppo.max_tokens`; the mean share for prompts that were not asked.
    """
    name = "serving"
    asked = [encode_prompt(base, ppo, prompts[i % len(prompts)]) for i in range(settings.samples)]
    samplings = [Sampling(temperature=1.0, max_tokens=ppo.max_tokens, seed=seed + i) for i in range(len(asked))]
    context = max(map(len, asked), default=0) + ppo.max_tokens
    with Engine(base, offline_settings(base, context, len(asked))) as engine:
        engine.install(name, parent)
        answers = engine.generate(asked, samplings, name)
    policy = make_policy(base, parent, ppo, seed)
    sequences = [(ids + answer.token_ids, len(ids)) for ids, answer in zip(asked, answers, strict=True)]
    parent_matrices = {name: matrix.detach().clone() for name, matrix in adapter_parameters(policy).items()}
    replay = Replay(sequences, parent_matrices)
    ending = ending_shares(
        [bool(answer.token_ids) and answer.token_ids[-1] in base.eos_ids for answer in answers], len(prompts)
    )
    if not settings.strength:
        return None, replay, ending
    fisher = fisher_information(
        policy,
        sequences,
        base.tokenizer.pad_token_id,
        batch=settings.batch,
        space=settings.space,
        progress=(lambda done: progress("Fisher information", done, len(sequences))) if progress else None,
    )
    here = anchor_here(policy, fisher, settings.space)
    if older and older.space != here.space:  # what is known of matrices says nothing of products, nor the reverse
        older = None
    return here.merged(older, settings.decay, settings.memory), replay, ending


def ending_shares(ended: Sequence[bool], prompts: int) -> list[float]:
    """Share of each prompt's answers that ended, where the answers were given to the prompts in turn.

    A prompt without an answer has the mean share of all; without any answers every share is 1.
    """
    mean = sum(ended) / len(ended) if ended else 1.0
    each = [ended[i::prompts] for i in range(prompts)]
    return [sum(own) / len(own) if own else mean for own in each]


def train_policy(
    base: Base,
    parent: Adapter | None,
    anchor: Anchor | None,
    replay: Replay | None,
    reward: RewardModel,
    prompts: Sequence[Sequence[Message]],
    ppo: PPOSettings,
    settings: AnchorSettings,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
    stopping: Stopping | None = None,
    *,
    algorithm: Algorithm = "ppo",
    algorithms: AlgorithmSettings | None = None,
    frozen: Frozen | None = None,
    server: Server | None = None,
    ending: Sequence[float] | None = None,
) -> tuple[Adapter, int]:
    """Train from the parent version on; resumes from the last complete checkpoint in `folder`, if there is one.

    Args:
        reward, prompts: what PPO, GRPO and RLOO are paid by, and what they answer.
        stopping: checks on the way, which may end the training early and name the policy that comes out of it.
        algorithm: what moves the policy.
        algorithms: knobs of those that are not PPO; None for their defaults.
        frozen: the ratings that DPO, KTO and SFT learn from.
        server: who answers where `ppo.rollouts` is vllm.
        ending: for each of `prompts` the share of the parent's answers that end by themselves, from `measure_anchor`;
            None where all do. An answer that does not end is fined by that share of `ppo.missing_eos`.

    Returns:
        The trained adapter (that of the best check, where there is one within bounds) and the number of optimizer
        steps that training took, resumed ones included.

    Raises:
        Problem: the reward of the first rollout's answers does not vary, or what the algorithm's trainer raises.
    """

    def pay(
        prompts: list[Any],
        completions: list[Any],
        log_metric: Callable[[str, float], None],
        trainer_state: TrainerState,
        **_: Any,
    ) -> list[float]:
        scores = reward.score(prompts, [completion[0]["content"] for completion in completions])
        log_metric("reward/heads", float(scores.heads.mean()))
        for name, figures in scores.rules.items():
            log_metric(f"reward/rule/{name}", float(figures.mean()))
        paid, clipped = scores.value, scores.clipped
        if algorithm == "ppo" and ppo.reward_clip and ppo.reward_scaling == "none":
            paid = paid.clamp(-ppo.reward_clip, ppo.reward_clip)
            clipped = clipped | (scores.value.abs() >= ppo.reward_clip)
        rollout = gather_object(list(zip(paid.tolist(), clipped.tolist(), strict=True)))  # of all processes
        spread = RewardSpread.of(torch.tensor([each for each, _ in rollout]), torch.tensor([cut for _, cut in rollout]))
        log_metric("reward/std", spread.deviation)
        log_metric("reward/clipped", spread.clipped)
        if trainer_state.global_step == 0:  # later a policy may have learned to be paid the same for everything
            spread.check()
        return scores.value.tolist()

    pay.__name__ = "reward_model"
    others = algorithms or AlgorithmSettings()
    online = algorithm in ("ppo", "grpo", "rloo")
    fines = [ppo.missing_eos * share for share in ending or [1.0] * len(prompts)]
    learning_rate = ppo.learning_rate if online else offline_rate(algorithm, others)
    callbacks = [
        Hold(anchor, replay, settings, learning_rate, base.tokenizer.pad_token_id, seed),
        *([stopping] if stopping else []),
        _Curve(folder / CURVE, algorithm, progress),
    ]
    model = make_policy(base, parent, ppo, seed)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    trainer: Any
    if algorithm == "ppo":
        trainer = PPOTrainer(
            model=model,
            tokenizer=base.tokenizer,
            settings=ppo,
            arguments=trainer_arguments(
                ppo,
                folder,
                seed=seed,
                cpu=base.device.type == "cpu",
                bf16=base.model.dtype == torch.bfloat16,
                processes=processes,
            ),
            prompts=prompt_stream(prompts, ppo, seed, fines),
            reward=pay,
            rollout=make_rollouts(base, ppo, seed, server, folder),
            callbacks=callbacks,
        )
    elif algorithm in ("grpo", "rloo"):
        trainer = online_trainer(
            algorithm,
            base,
            model,
            pay,
            prompt_stream(prompts, ppo, seed, fines),
            ppo,
            others,
            folder,
            seed,
            callbacks,
            processes,
            server,
        )
    else:
        rated = frozen or Frozen("", [], [], [])
        trainer = offline_trainer(algorithm, base, model, rated, ppo, others, folder, seed, callbacks, processes)
    trainer.remove_callback(PrinterCallback)  # `_Curve` says it in a line that can be read
    trainer.add_callback(trainer.pop_callback(TensorBoardCallback))  # after `stopping`, which adds to what is logged
    begun = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    best = stopping.best if stopping else None
    if trainer.accelerator.is_main_process:
        draw_curves(folder, stopping.best_step if stopping else None)
    return best or policy_adapter(trainer.accelerator.unwrap_model(trainer.model)), trainer.state.global_step


# What is said of a training on its way: the figures' names in a row of the curve.
SAID = {
    "ppo": {"reward": "ppo/score", "spread": "reward/std", "at the clip": "reward/clipped", "KL": "ppo/kl"},
    "grpo": {"reward": "reward", "spread": "reward/std", "at the clip": "reward/clipped", "KL": "kl"},
    "rloo": {"reward": "reward", "spread": "reward/std", "at the clip": "reward/clipped", "KL": "kl"},
    "dpo": {"loss": "loss", "margin": "rewards/margins"},
    "kto": {"loss": "loss", "KL": "kl"},
    "sft": {"loss": "loss", "accuracy": "mean_token_accuracy"},
}


class _Curve(TrainerCallback):
    """Writes each logged row of figures as a line of JSON, and reports progress."""

    def __init__(self, file: Path, algorithm: str, progress: Progress | None) -> None:
        self.file, self.algorithm = file, algorithm
        self.progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what was logged after the checkpoint that training goes on from: it will come again."""
        if self.file.is_file() and state.is_world_process_zero:
            lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
            self.file.write_text("".join(kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or not state.is_world_process_zero:
            return
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        said = SAID[self.algorithm]
        if self.progress and logs.keys() >= set(said.values()):
            figures = ", ".join(f"{name} {logs[figure]:.2f}" for name, figure in said.items())
            self.progress(f"{self.algorithm.upper()}, {figures}", state.global_step, state.max_steps)
