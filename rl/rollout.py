"""Rollouts: who answers the prompts that the policy learns on - the engine, transformers, or a vLLM server.

Each is a function of prompts and trainer that gives token ids of prompts and answers, and the log-probabilities that
the answers were drawn by, where they are known. Any of TRL's online trainers can be given one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from trl.models import unwrap_model_for_generation

from lm.adapters import write_adapter
from lm.backend import Prompt
from lm.engine import Engine
from lm.loading import Base
from lm.offline import offline_settings
from lm.remote.vllm import VLLM
from lm.settings import BackendSettings, Sampling
from problems import Problem
from rl.encoded_prompts import encode_prompt
from rl.policy import policy_adapter
from rl.settings import PPOSettings

POLICY = "policy"  # the engine's and the server's name of the adapter in training

RolloutFunction = Callable[[list[Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Server:
    """A vLLM server that may answer rollouts, and the folder that it sees (`VLLM` says at which path)."""

    settings: BackendSettings
    home: Path


def check_server(settings: PPOSettings, server: Server | None) -> None:
    """Raise Problem (status 2) where vLLM is asked for, but there is no such server or the temperature is not 1."""
    if settings.rollouts != "vllm":
        return
    if server is None or server.settings.kind != "vllm":
        raise Problem(
            "ppo.rollouts is vllm, but the backend is not a vLLM server.",
            hint="Set backend.kind to vllm and backend.url to its address.",
            status=2,
        )
    if settings.temperature != 1.0:
        raise Problem(
            f"ppo.rollouts is vllm and ppo.temperature {settings.temperature}.",
            hint="Set ppo.temperature to 1: the server tells log-probabilities at temperature 1 alone.",
            status=2,
        )


def make_rollouts(base: Base, settings: PPOSettings, seed: int, server: Server | None, folder: Path) -> RolloutFunction:
    """The rollout function that `settings.rollouts` names.

    Args:
        server: needed for "vllm".
        folder: where the policy on its way may be written for the server to load.

    Raises:
        Problem: as `check_server`.
    """
    check_server(settings, server)
    if settings.rollouts == "engine":
        return EngineRollouts(base, settings, seed)
    if settings.rollouts == "transformers":
        return TransformersRollouts(base, settings)
    assert server is not None
    return ServerRollouts(base, settings, seed, server, folder)


def fitted(base: Base, settings: PPOSettings, prompts: list[Any]) -> list[list[int]]:
    """Token ids of the prompts as they are served, the oldest turns left out where they are too long."""
    return [encode_prompt(base, settings, prompt) for prompt in prompts]


def samplings(settings: PPOSettings, seed: int, count: int, trainer: Any) -> list[Sampling]:
    """How each of this process's `count` answers is drawn.

    An answer's seed hangs on the training's seed, the optimizer step and its place in the whole rollout: however many
    processes share the prompts, the answers are the same.
    """
    here = trainer.accelerator
    generator = torch.Generator().manual_seed(seed + trainer.state.global_step)
    begin = here.process_index * count
    seeds = torch.randint(2**31, (count * here.num_processes,), generator=generator)[begin : begin + count]
    return [
        Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens, seed=each) for each in seeds.tolist()
    ]


class EngineRollouts:
    """Installs the policy's present adapter in an engine and samples from it: the code that also answers people.

    Args:
        base: frozen language model; the engine shares its weights.
        settings: temperature, lengths and number of answers.
        seed: of the answers.
    """

    def __init__(self, base: Base, settings: PPOSettings, seed: int) -> None:
        self.base, self.settings, self.seed = base, settings, seed

    def _engine_for(self, longest: int) -> Engine:
        """An engine whose slots hold a prompt of `longest` tokens and an answer: no more memory than the prompts need.

        It lives for one rollout: to make it takes milliseconds, the minibatches get its memory, and nothing that it has
        read would be of use to the next, since the policy is another one by then.
        """
        context = longest + self.settings.max_tokens
        return Engine(self.base, offline_settings(self.base, context, self.settings.episodes))

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """prompt_ids, completion_ids and logprobs (at the rollout's temperature), one list an answer."""
        prompt_ids = fitted(self.base, self.settings, prompts)
        engine = self._engine_for(max(map(len, prompt_ids)))
        engine.install(POLICY, policy_adapter(trainer.accelerator.unwrap_model(trainer.model)))
        done = engine.generate(prompt_ids, samplings(self.settings, self.seed, len(prompts), trainer), POLICY)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [completion.token_ids for completion in done],
            "logprobs": [completion.sampling_logprobs for completion in done],
        }


class TransformersRollouts:
    """Has the model in training generate by itself: slower, and right for whatever transformers can run.

    It draws from torch's global random state, which checkpoints hold.
    """

    def __init__(self, base: Base, settings: PPOSettings) -> None:
        self.base, self.settings = base, settings

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """prompt_ids and completion_ids, one list an answer; logprobs is None: the trainer computes them anyway."""
        prompt_ids = fitted(self.base, self.settings, prompts)
        batch = self.base.tokenizer.pad({"input_ids": prompt_ids}, padding_side="left", return_tensors="pt")
        drawn = GenerationConfig(
            do_sample=True,
            temperature=self.settings.temperature,
            top_k=0,
            max_new_tokens=self.settings.max_tokens,
            pad_token_id=self.base.tokenizer.pad_token_id,
            eos_token_id=sorted(self.base.eos_ids),
        )
        with (
            torch.no_grad(),
            unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model,
            trainer.accelerator.autocast(),
        ):
            rows = model.generate(**batch.to(trainer.accelerator.device), generation_config=drawn)
        answers = rows[:, batch["input_ids"].shape[1] :].tolist()
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [until_end(answer, self.base.eos_ids) for answer in answers],
            "logprobs": None,
        }


class ServerRollouts:
    """Has a vLLM server load the policy's present adapter and sample from it.

    Args:
        base: what the server serves, as this process knows it.
        settings: lengths of the answers.
        seed: of the answers.
        server: where it is and what it sees.
        folder: within the server's home; each rollout's adapter is written into it.
    """

    def __init__(self, base: Base, settings: PPOSettings, seed: int, server: Server, folder: Path) -> None:
        self.base, self.settings, self.seed, self.folder = base, settings, seed, folder
        self.server = VLLM(base, server.settings, server.home)
        self.server.start()

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """prompt_ids, completion_ids and logprobs (at temperature 1), one list an answer.

        Raises:
            Problem: the server refuses the adapter or a request, is lost, or does not tell every log-probability.
        """
        folder = self.folder / "policy"
        if trainer.accelerator.is_main_process:
            write_adapter(folder, policy_adapter(trainer.accelerator.unwrap_model(trainer.model)), self.base)
        trainer.accelerator.wait_for_everyone()
        self.server.load(POLICY, folder)
        prompt_ids = fitted(self.base, self.settings, prompts)
        streams = [
            self.server.ask(Prompt(prompt, ids), sampling, POLICY)
            for prompt, ids, sampling in zip(
                prompts, prompt_ids, samplings(self.settings, self.seed, len(prompts), trainer), strict=True
            )
        ]
        done = []
        for stream in streams:
            for _ in stream:
                pass
            done.append(stream.completion)
        if any(len(each.logprobs) != len(each.token_ids) for each in done):
            raise Problem(
                "The server does not tell the log-probability of every token.", hint="Use vLLM's own server.", status=3
            )
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [each.token_ids for each in done],
            "logprobs": [each.logprobs for each in done],
        }


def until_end(answer: list[int], eos_ids: frozenset[int]) -> list[int]:
    """An answer's token ids up to the first that ends it, that one included."""
    ends = [place for place, token in enumerate(answer) if token in eos_ids]
    return answer[: ends[0] + 1] if ends else answer
