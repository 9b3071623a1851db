"""The knobs of the engine and of one request; light to import, so that a command line can show them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from problems import Problem


@dataclass(frozen=True)
class EngineSettings:
    """How the engine shares the machine among requests."""

    slots: int = 32  # requests that generate at the same time
    context: int = 1024  # tokens a request may hold, prompt and answer together; capped by the model
    queue: int = 512  # requests that may wait for a slot before new ones are refused
    prefill: int = 512  # prompt tokens read in one step, so that a long prompt never stalls the running streams
    threads: int = 0  # CPU threads of torch; 0 leaves torch's choice
    prefix_cache: int = 256  # MB of keys and values kept for prompts that begin alike; 0 keeps none
    deadline: float = 0.0  # seconds a request may take from submit to its end; 0 sets no limit

    def __post_init__(self) -> None:
        for name, least in (
            ("slots", 1),
            ("context", 2),
            ("queue", 1),
            ("prefill", 1),
            ("threads", 0),
            ("prefix_cache", 0),
        ):
            if getattr(self, name) < least:
                raise Problem(f"The engine's {name} is {getattr(self, name)}.", hint=f"Give at least {least}.")


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn. Raises Problem for a value outside its range."""

    temperature: float = 0.8  # 0 takes the likeliest token each time
    top_p: float = 1.0  # keep the smallest set of tokens whose probabilities sum to this; 1 keeps all
    top_k: int = 0  # keep this many likeliest tokens; 0 keeps all
    max_tokens: int = 256  # the answer's longest length
    stop: tuple[str, ...] = ()  # the answer ends before the first of these texts
    seed: int | None = None  # same seed, same prompt, same version: same answer; None draws afresh
    ignore_eos: bool = False  # go on after the model's end token (for measurements of speed)
    min_p: float = 0.0  # drop tokens less likely than this share of the likeliest; 0 drops none
    repetition_penalty: float = 1.0  # above 1 makes tokens that stood before less likely
    top_logprobs: int = 0  # how many of the likeliest tokens are reported a position, 0 to 20

    def __post_init__(self) -> None:
        def refuse(name: str, allowed: str) -> None:
            raise Problem(f"The sampling parameter {name} is {getattr(self, name)!r}.", hint=f"Give {allowed}.")

        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            refuse("temperature", "a number from 0 up")
        if not 0 < self.top_p <= 1:
            refuse("top_p", "a number above 0 and up to 1")
        if self.top_k < 0:
            refuse("top_k", "a whole number from 0 up")
        if not 0 <= self.min_p <= 1:
            refuse("min_p", "a number from 0 to 1")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            refuse("repetition_penalty", "a number above 0")
        if not 0 <= self.top_logprobs <= 20:
            refuse("top_logprobs", "a whole number from 0 to 20")
        if self.max_tokens < 1:
            refuse("max_tokens", "a whole number from 1 up")
        if any(not text for text in self.stop):
            refuse("stop", "texts that are not empty")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            refuse("seed", "a whole number of at most 64 bits")
