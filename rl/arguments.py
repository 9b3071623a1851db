"""PPO's settings in TRL's words, and the order in which its prompts are asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig

from problems import Problem
from rl.settings import PPOSettings


def check_minibatches(settings: PPOSettings, processes: int) -> None:
    """Raise Problem (status 2) where a rollout cannot be cut into minibatches, or these into the processes' shares."""
    if settings.episodes % settings.minibatch or settings.minibatch % 2:
        raise Problem(
            f"ppo.episodes is {settings.episodes} and ppo.minibatch {settings.minibatch}.",
            hint="Make both even, and episodes a multiple of minibatch.",
            status=2,
        )
    if settings.minibatch % processes:
        raise Problem(
            f"ppo.minibatch is {settings.minibatch}, which {processes} processes cannot share evenly.",
            hint="Make it a multiple of the number of processes.",
            status=2,
        )
    if settings.episodes // settings.minibatch * settings.epochs < 2:
        raise Problem(
            "PPO needs two optimizer steps a rollout or more.",
            hint="Raise ppo.epochs or lower ppo.minibatch.",
            status=2,
        )


def trainer_arguments(
    settings: PPOSettings, folder: Path, *, seed: int, cpu: bool, bf16: bool = False, processes: int = 1
) -> GRPOConfig:
    """The settings in TRL's words. GRPO's own schemes (group scaling, its losses) are off or overridden.

    Args:
        bf16: for a base in bfloat16: the adapter stays in float32 and is computed with in bfloat16.
        processes: how many share each minibatch.

    Raises:
        Problem: as `check_minibatches`.
    """
    check_minibatches(settings, processes)
    options = training_options(folder, seed=seed, cpu=cpu, bf16=bf16) | rollout_options(settings, processes)
    return GRPOConfig(
        **options,
        num_generations=2,
        beta=1.0,  # only says that a reference is kept; the KL's strength is the controller's
        scale_rewards="none",
        # The values leave the model by a hook: DDP, looking at outputs alone, would take the critic for unused.
        ddp_find_unused_parameters=False,
    )


def training_options(folder: Path, *, seed: int, cpu: bool, bf16: bool) -> dict[str, Any]:
    """What the configurations of all of TRL's trainers are given alike."""
    return {
        "output_dir": str(folder),
        "seed": seed,
        "use_cpu": cpu,
        "bf16": bf16,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "gradient_accumulation_steps": 1,
        "activation_checkpointing": False,
        "save_strategy": "steps",
        "report_to": "tensorboard",
        "disable_tqdm": True,
        "dataloader_pin_memory": not cpu,
    }


def rollout_options(settings: PPOSettings, processes: int) -> dict[str, Any]:
    """What the configurations of PPO, GRPO and RLOO are given alike: rollouts, and the steps on each."""
    minibatches = settings.episodes // settings.minibatch
    steps = minibatches * settings.epochs
    return {
        "learning_rate": settings.learning_rate,
        "max_grad_norm": settings.max_grad_norm,
        "per_device_train_batch_size": settings.minibatch // processes,
        "steps_per_generation": minibatches,
        "num_iterations": settings.epochs,
        "max_steps": settings.updates * steps,
        "max_completion_length": settings.max_tokens,
        "temperature": settings.temperature,
        "shuffle_dataset": False,
        "remove_unused_columns": False,
        "save_steps": settings.save_every * steps,
        "logging_steps": steps,
    }


def prompt_stream(
    prompts: Sequence[Sequence[dict[str, str]]], settings: PPOSettings, seed: int, fines: Sequence[float] | None = None
) -> Dataset:
    """The prompts of a whole training in the order that they are asked, each rollout's together.

    Columns: `prompt`, and `missing_eos`, what is added to the reward of an answer to it that does not end.

    One pass over this dataset is the whole training. TRL's sampler would shuffle anew after each pass over a shorter
    one, and a training resumed after the first pass would see other prompts than one that was never stopped.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = settings.updates * settings.episodes // 2  # each prompt is answered twice
    order: list[int] = []
    while len(order) < wanted:
        order += torch.randperm(len(prompts), generator=generator).tolist()
    fined = [settings.missing_eos] * len(prompts) if fines is None else list(fines)
    return Dataset.from_list([{"prompt": list(prompts[i]), "missing_eos": fined[i]} for i in order[:wanted]])
