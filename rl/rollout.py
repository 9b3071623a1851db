"""Rollouts by the engine: the same code that answers people answers the prompts that the policy learns on."""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer

from lm.engine import Engine
from lm.loading import Base
from lm.prompts import fit_chat
from lm.settings import EngineSettings, Sampling
from rl.policy import policy_adapter
from rl.settings import PPOSettings

POLICY = "policy"  # the engine's name of the adapter in training


class EngineRollouts:
    """A rollout function for `PPOTrainer`: installs the policy's present adapter in an engine and samples from it.

    Args:
        base: frozen language model; the engine shares its weights.
        settings: temperature, lengths and number of answers.
        seed: of the answers; each answer of each rollout has a seed of its own, which hangs on its place in the whole
            rollout: however many processes share the prompts, the answers are the same.
    """

    def __init__(self, base: Base, settings: PPOSettings, seed: int) -> None:
        self.base = base
        self.settings = settings
        self.seed = seed
        context = min(base.context, settings.prompt_tokens + settings.max_tokens)
        self.engine = Engine(base, EngineSettings(slots=min(settings.episodes, 64), context=context))

    def __call__(self, prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        """Prompt ids, completion ids and log-probabilities at the rollout's temperature, one list an answer."""
        self.engine.install(POLICY, policy_adapter(trainer.accelerator.unwrap_model(trainer.model)))
        limit = min(self.settings.prompt_tokens, self.base.context - self.settings.max_tokens)
        prompt_ids = [fit_chat(self.base, prompt, limit) for prompt in prompts]
        here = trainer.accelerator
        everywhere = len(prompts) * here.num_processes
        generator = torch.Generator().manual_seed(self.seed + trainer.state.global_step)
        seeds = torch.randint(2**31, (everywhere,), generator=generator)[here.process_index * len(prompts) :].tolist()
        samplings = [
            Sampling(temperature=self.settings.temperature, max_tokens=self.settings.max_tokens, seed=seed)
            for seed in seeds[: len(prompts)]
        ]
        done = self.engine.generate(prompt_ids, samplings, POLICY)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [completion.token_ids for completion in done],
            "logprobs": [completion.sampling_logprobs for completion in done],
        }
