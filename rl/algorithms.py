"""The updates other than PPO, by TRL's own trainers: GRPO, RLOO, DPO, KTO and SFT on corrections.

Each trains the same policy from the same parent version as PPO does and takes the same callbacks, so that the anchor
holds it in the same way. GRPO and RLOO answer prompts through the engine and are paid by the reward model; DPO, KTO
and SFT learn from the ratings themselves. The reference of all but SFT is the parent version: TRL keeps a frozen copy
of the adapter as it was at the start.
"""

from __future__ import annotations

import warnings
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import Trainer, TrainerCallback
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

from lm.loading import Base
from problems import Problem
from rl.arguments import rollout_options, training_options
from rl.checkpoints import MarkComplete
from rl.ppo import RewardFunction
from rl.preference_data import (
    check_evidence,
    correction_rows,
    corrections,
    preference_rows,
    preferences,
    training_stream,
    verdict_rows,
    verdicts,
    with_mismatched,
)
from rl.rollout import RolloutFunction, Server, make_rollouts
from rl.settings import AlgorithmSettings, PPOSettings
from store.frozen import Frozen


def check_groups(ppo: PPOSettings, settings: AlgorithmSettings, processes: int) -> None:
    """Raise Problem (status 2) where a rollout of GRPO or RLOO cannot be cut into groups and minibatches."""
    uneven = ppo.episodes % settings.group or ppo.episodes % ppo.minibatch or ppo.minibatch % processes
    if uneven or settings.group < 2:
        raise Problem(
            f"ppo.episodes is {ppo.episodes}, ppo.minibatch {ppo.minibatch} and algorithms.group {settings.group}, "
            f"for {processes} process(es).",
            hint="Make episodes a multiple of minibatch and group, minibatch one of the processes, group two or more.",
            status=2,
        )


def check_batch(algorithm: str, settings: AlgorithmSettings, processes: int) -> None:
    """Raise Problem (status 2) where the processes cannot share a batch of DPO, KTO or SFT."""
    if settings.batch % processes or (algorithm == "kto" and settings.batch < 2 * processes):
        raise Problem(
            f"algorithms.batch is {settings.batch}, for {processes} process(es).",
            hint="Make it a multiple of the number of processes; for KTO, which compares answers, two each or more.",
            status=2,
        )


def online_trainer(
    algorithm: str,
    base: Base,
    model: PeftModel,
    reward: RewardFunction,
    prompts: Dataset,
    ppo: PPOSettings,
    settings: AlgorithmSettings,
    folder: Path,
    seed: int,
    callbacks: list[TrainerCallback],
    processes: int = 1,
    server: Server | None = None,
) -> Trainer:
    """GRPO [arXiv 2402.03300] or RLOO [arXiv 2402.14740]: no critic, an answer is judged beside others to its prompt.

    Args:
        algorithm: grpo or rloo.
        model: the policy, from `make_policy`.
        reward: called with prompts, completions (conversational), completion_ids; returns one reward an answer.
        prompts: from `prompt_stream`; each is answered `settings.group` times.
        ppo: rollouts, passes over each, learning rate, clip and temperature.
        callbacks: among them the one that holds the policy.
        processes: how many share each minibatch.
        server: who answers where `ppo.rollouts` is vllm.

    Raises:
        Problem: as `check_groups`.
    """
    check_groups(ppo, settings, processes)
    options = _options(folder, seed, base) | rollout_options(ppo, processes)
    options |= {"num_generations": settings.group, "epsilon": ppo.clip, "beta": settings.kl}
    common: dict[str, Any] = {
        "model": model,
        "reward_funcs": _ending(reward, base.eos_ids),
        "train_dataset": prompts,
        "processing_class": base.tokenizer,
        "callbacks": [*callbacks, MarkComplete()],
    }
    rollout = make_rollouts(base, ppo, seed, server, folder)
    if algorithm == "rloo":
        return RolloutRLOO(rollout, args=RLOOConfig(**options), **common)
    with warnings.catch_warnings():
        # The version of TRL is pinned and tests hold its contract, so its being experimental is taken care of.
        warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
        return GRPOTrainer(args=GRPOConfig(scale_rewards=settings.scale, **options), rollout_func=rollout, **common)


def offline_trainer(
    algorithm: str,
    base: Base,
    model: PeftModel,
    frozen: Frozen,
    ppo: PPOSettings,
    settings: AlgorithmSettings,
    folder: Path,
    seed: int,
    callbacks: list[TrainerCallback],
    processes: int = 1,
) -> Trainer:
    """DPO [arXiv 2305.18290] on pairs, KTO [arXiv 2402.01306] on single answers, or SFT on corrections.

    Args:
        algorithm: dpo, kto or sft.
        model: the policy, from `make_policy`.
        frozen: whose training split is learned from.
        ppo: how many tokens of a prompt are read.
        callbacks: among them the one that holds the policy.
        processes: how many share each batch.

    Raises:
        Problem: there is nothing to learn from (status 3), or the batch cannot be shared out (status 2).
    """
    check_evidence(algorithm, frozen)
    check_batch(algorithm, settings, processes)
    longest = settings.answer_tokens
    if algorithm == "dpo":
        rows = preference_rows(base, preferences(frozen), ppo, longest)
    elif algorithm == "kto":
        rows = verdict_rows(base, verdicts(frozen), ppo, longest)
    else:
        rows = correction_rows(base, corrections(frozen), ppo, longest)
    stream = training_stream(rows, settings, seed)
    steps = len(stream) // settings.batch
    options = _options(folder, seed, base) | {
        "max_steps": steps,
        "learning_rate": offline_rate(algorithm, settings),
        "max_grad_norm": ppo.max_grad_norm,
        "per_device_train_batch_size": settings.batch // processes,
        "train_sampling_strategy": "sequential",  # the stream is shuffled already
        "max_length": None,  # prompts and answers are cut already
        "save_steps": settings.save_every,
        "logging_steps": max(1, steps // ppo.updates),  # as many rows of figures as PPO has rollouts
    }
    common: dict[str, Any] = {
        "model": model,
        "processing_class": base.tokenizer,
        "callbacks": [*callbacks, MarkComplete()],
    }
    if algorithm == "dpo":
        return EncodedDPO(args=DPOConfig(beta=settings.beta, **options), train_dataset=stream, **common)
    if algorithm == "sft":
        prepared = {"skip_prepare_dataset": True}
        return SFTTrainer(args=SFTConfig(dataset_kwargs=prepared, **options), train_dataset=stream, **common)
    liked = sum(row["label"] for row in rows)
    weights = {  # so that both kinds weigh the same in all [arXiv 2402.01306, equation 8]
        "desirable_weight": max(1.0, (len(rows) - liked) / liked),
        "undesirable_weight": max(1.0, liked / (len(rows) - liked)),
    }
    return EncodedKTO(
        args=KTOConfig(beta=settings.beta, **weights, **options),
        train_dataset=with_mismatched(stream, settings.batch),
        **common,
    )


def offline_rate(algorithm: str, settings: AlgorithmSettings) -> float:
    """Learning rate of DPO, KTO or SFT."""
    return settings.sft_learning_rate if algorithm == "sft" else settings.learning_rate


def _ending(reward: RewardFunction, ends: frozenset[int]) -> RewardFunction:
    """`reward`, with the prompt's `missing_eos` added where an answer does not end, as PPO adds it."""

    @wraps(reward)
    def paid(completion_ids: list[list[int]], missing_eos: list[float], **told: Any) -> list[float]:
        rewards = reward(completion_ids=completion_ids, **told)
        answers = zip(rewards, completion_ids, missing_eos, strict=True)
        return [each if ids[-1] in ends else each + fine for each, ids, fine in answers]

    return paid


def _options(folder: Path, seed: int, base: Base) -> dict[str, Any]:
    """`training_options` for this base: one in bfloat16 is computed with in it, while the adapter stays in float32."""
    on_cpu, bf16 = base.device.type == "cpu", base.model.dtype == torch.bfloat16
    return training_options(folder, seed=seed, cpu=on_cpu, bf16=bf16)


class RolloutRLOO(RLOOTrainer):
    """TRL's RLOO with the engine's rollouts, for which it has no argument as GRPO has."""

    def __init__(self, rollout: RolloutFunction, **options: Any) -> None:
        self.rollout = rollout
        self._answers: list[list[int]] = []
        super().__init__(**options)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        done = self.rollout(prompts, self)
        self._answers = done["completion_ids"]
        return done["prompt_ids"], None, {}

    def _generate_single_turn(self, prompt_ids: Any, images: Any, multimodal_fields: Any) -> list[list[int]]:
        return self._answers


class EncodedDPO(DPOTrainer):
    """TRL's DPO on rows that are token ids already: the serving template is applied in its own way."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class EncodedKTO(KTOTrainer):
    """TRL's KTO on rows that are token ids already, with the mismatched answers beside them."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset
