"""How a stream of tasks is learned: the arms, each with one strength, all of them by the trainer of an update.

Every arm is PPO from the version before on, at the same number of episodes, with the same prompts, draws and a weak KL
for the same seed. What differs is what holds it. The arm `ewc` is elastic weight consolidation as Avalanche has it: the
squared gradient of a batch's mean, of the task just learned alone, summed online, and a penalty without the one half.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from task_stream import ANSWER, PROMPT, TASKS, Measured, Payment, measure, short_items
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback

from lm.adapters import Adapter
from lm.likelihood import Completed, batches, log_likelihood
from lm.loading import Base
from lm.suites import Item
from rl.anchor import Anchor, Space, adapter_parameters
from rl.arguments import prompt_stream, trainer_arguments
from rl.hold import Hold
from rl.interpolation import interpolated
from rl.policy import make_policy, policy_adapter
from rl.ppo import PPOTrainer
from rl.rollout import EngineRollouts
from rl.settings import AnchorSettings, PPOSettings
from rl.training import measure_anchor

DECADES = (0.01, 0.1, 1.0, 10.0, 100.0)
WEAK_KL = 0.01  # strength of the KL in the reward of every arm but `kl`


@dataclass(frozen=True)
class Budget:
    """What every arm may spend."""

    updates: int = 8  # rollouts a task
    episodes: int = 32  # answers a rollout
    minibatch: int = 8  # answers an optimizer step
    learning_rate: float = 1.5e-3  # at twice as much, all tasks at once fell apart in the end
    prompts: int = 160  # of each task to train on
    samples: int = 96  # answers to old prompts, for Fisher information and replay
    held_out: int = 64  # prompts of each task that are measured

    def ppo(self, kl: float) -> PPOSettings:
        """PPO's settings; the KL's strength is fixed, since it is what is swept."""
        return PPOSettings(
            updates=self.updates,
            episodes=self.episodes,
            minibatch=self.minibatch,
            epochs=1,
            learning_rate=self.learning_rate,
            value_warmup=0,
            stop_kl=0.0,  # every arm takes the same number of steps
            lam=1.0,  # answers are short, and what they are paid for may stand in their first word
            kl=kl,
            kl_horizon=1e12,
            max_tokens=ANSWER,
            prompt_tokens=PROMPT,
            save_every=self.updates + 1,
        )


@dataclass(frozen=True)
class Arm:
    """One way to hold the policy.

    Attributes:
        grid: strengths of the sweep; one entry where there is nothing to choose.
        anchor: lambda of our anchor at strength 1; 0 for none.
        replay: KL on replayed old prompts at strength 1.
        space: of the anchor.
        share: the strength is the share of the way from the parent that is gone.
        batch_mean: lambda of Avalanche's penalty at strength 1; 0 for none.
        mixed: every stage is paid for all tasks.
    """

    about: str
    grid: tuple[float, ...]
    kl: bool = False
    anchor: float = 0.0
    replay: float = 0.0
    space: Space = "matrices"
    share: bool = False
    batch_mean: float = 0.0
    mixed: bool = False

    def settings(self, strength: float, budget: Budget) -> AnchorSettings:
        """What the update's trainer is told."""
        return AnchorSettings(
            strength=self.anchor * strength,
            replay=self.replay * strength,
            space=self.space,
            samples=budget.samples,
            share=strength if self.share else 1.0,
        )


ARMS = {
    "kl": Arm("KL to the version before, in the reward", (0.001, 0.01, 0.1, 1.0, 10.0), kl=True),
    "ewc": Arm("EWC as Avalanche has it", DECADES, batch_mean=1.0),
    "matrices": Arm("our anchor on A and B", DECADES, anchor=1.0),
    "product": Arm("our anchor on the product BA", DECADES, anchor=1.0, space="product"),
    "replay": Arm("exact KL on replayed old prompts", DECADES, replay=0.1),
    "interpolation": Arm("a share of the way from the version before", (0.2, 0.4, 0.6, 0.8, 1.0), share=True),
    # Each at the strength that was best alone on the seed of the sweep.
    "combined": Arm("our anchor and replay", DECADES, anchor=10.0, replay=0.1),
    "joint": Arm("all tasks at once, the total budget", (1.0,), mixed=True),
}


class BatchMeanPull(TrainerCallback):
    """Gradient of lambda * sum F (theta - theta*)^2, as it is: no one half, no bound."""

    def __init__(self, anchor: Anchor, strength: float) -> None:
        self.anchor, self.strength = anchor, strength

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **things: Any) -> None:
        for name, parameter in adapter_parameters(things["model"]).items():
            if parameter.grad is not None:
                moved = parameter - self.anchor.centre[name]
                parameter.grad.add_(2 * self.strength * self.anchor.fisher[name] * moved)


def batch_mean_importance(
    base: Base,
    adapter: Adapter,
    sequences: Sequence[Completed],
    settings: PPOSettings,
    older: Anchor | None,
    decay: float,
) -> Anchor:
    """Squared gradient of each batch's mean log-likelihood, averaged over batches, added to the older, decayed."""
    policy = make_policy(base, adapter, settings, seed=0)
    parameters = adapter_parameters(policy)
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    pad = base.tokenizer.pad_token_id
    cut = [sequences[i : i + settings.minibatch] for i in range(0, len(sequences), settings.minibatch)]
    for rows in (batch for part in cut for batch in batches(part, pad, len(part), base.device)):
        gradients: tuple[Tensor, ...] = torch.autograd.grad(
            log_likelihood(policy, rows).mean(), list(parameters.values())
        )
        for name, gradient in zip(total, gradients, strict=True):
            total[name] += gradient**2 / len(cut)
    centre = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    return Anchor(total, centre).merged(older, decay)


@lru_cache(maxsize=16)
def start(base: Base, seed: int, held_out: int) -> Measured:
    """Row 0 of the table, which every arm shares."""
    return measure(base, None, seed, held_out)


def run_stream(base: Base, arm: Arm, strength: float, seed: int, budget: Budget) -> dict[str, Any]:
    """Learn the tasks one after the other.

    Returns:
        `wanted` and `right`: tables [T + 1, T] of shares; `seconds` of the processor, in all and by part.
    """
    begun = time.process_time()
    spent = dict.fromkeys(("measuring", "holding", "training"), 0.0)
    items = [short_items(base, "train", seed, budget.prompts, task.skill) for task in TASKS]
    pay = Payment(TASKS, [item for each in items for item in each])
    ppo = budget.ppo(strength if arm.kl else WEAK_KL)
    settings = arm.settings(strength, budget)
    adapter: Adapter | None = None
    anchor: Anchor | None = None
    rows = [start(base, seed, budget.held_out)]
    for stage in range(len(TASKS)):
        mark = time.process_time()
        callbacks: list[TrainerCallback] = []
        stage_seed = seed * len(TASKS) + stage
        if adapter and (settings.strength or settings.replay or arm.batch_mean):
            old = _in_turn(items[stage - 1 : stage] if arm.batch_mean else items[:stage])
            measured, replay, _ = measure_anchor(base, adapter, anchor, _prompts(old), ppo, settings, stage_seed)
            if arm.batch_mean:
                anchor = batch_mean_importance(base, adapter, replay.sequences, ppo, anchor, settings.decay)
                callbacks.append(BatchMeanPull(anchor, arm.batch_mean * strength))
            else:
                anchor = measured
                callbacks.append(
                    Hold(anchor, replay, settings, ppo.learning_rate, base.tokenizer.pad_token_id, stage_seed)
                )
        spent["holding"] += time.process_time() - mark
        mark = time.process_time()
        asked = _in_turn(items) if arm.mixed else items[stage]
        trained = _train(base, adapter, pay, asked, ppo, callbacks, stage_seed)
        # Before the first task there is nothing to be held, whatever the arm.
        adapter = interpolated(adapter, trained, settings.share).adapter if adapter else trained
        spent["training"] += time.process_time() - mark
        mark = time.process_time()
        rows.append(measure(base, adapter, seed, budget.held_out))
        spent["measuring"] += time.process_time() - mark
    return {
        "wanted": [row.wanted for row in rows],
        "right": [row.right for row in rows],
        "seconds": {name: round(value, 2) for name, value in spent.items()}
        | {"all": round(time.process_time() - begun, 2)},
    }


def _train(
    base: Base,
    parent: Adapter | None,
    payment: Payment,
    items: Sequence[Item],
    ppo: PPOSettings,
    callbacks: list[TrainerCallback],
    seed: int,
) -> Adapter:
    def pay(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        return [payment(asked, said[0]["content"]) for asked, said in zip(prompts, completions, strict=True)]

    with tempfile.TemporaryDirectory() as folder:
        arguments = trainer_arguments(ppo, Path(folder), seed=seed, cpu=True)
        arguments.report_to = []
        trainer = PPOTrainer(
            model=make_policy(base, parent, ppo, seed),
            tokenizer=base.tokenizer,
            settings=ppo,
            arguments=arguments,
            prompts=prompt_stream(_prompts(items), ppo, seed),
            reward=pay,
            rollout=EngineRollouts(base, ppo, seed),
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return policy_adapter(trainer.accelerator.unwrap_model(trainer.model))


def _in_turn(items: Sequence[Sequence[Item]]) -> list[Item]:
    """One of each task, then the next of each."""
    return [item for some in zip(*items, strict=False) for item in some]


def _prompts(items: Sequence[Item]) -> list[list[dict[str, str]]]:
    return [item.messages for item in items]
