"""The knobs of the engine and of one request; light to import, so that a command line can show them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from problems import Problem

MOST_TOLD = 20  # as OpenAI's API has it


@dataclass(frozen=True)
class EngineSettings:
    """How the engine shares the machine among requests."""

    slots: int = 32  # requests that generate at the same time
    context: int = 1024  # tokens a request may hold, prompt and answer together; capped by the model
    queue: int = 512  # requests that may wait for a slot; one person may fill half of the places still free
    prefill: int = 512  # prompt tokens read in one step, so that a long prompt never stalls the running streams
    prefix_cache: int = 256  # megabytes for what was read before: a conversation's next turn reads only what is new
    deadline: float = 0.0  # seconds a request may take, its wait included; 0: no limit
    stream_interval: float = 0.02  # seconds between two pieces of a stream; tokens of a fast model come several at once
    threads: int = 0  # CPU threads of torch; 0 leaves torch's choice
    few_widths: bool = False  # a step has 1, 2, 4, 8, 16, 24 ... rows: few kernels for a batch that shrinks

    def __post_init__(self) -> None:
        least = dict.fromkeys(("prefix_cache", "deadline", "stream_interval", "threads"), 0)
        least |= {"slots": 1, "context": 2, "queue": 1, "prefill": 1}
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise Problem(f"The engine's {name} is {getattr(self, name)}.", hint=f"Give at least {lowest}.")


@dataclass(frozen=True)
class BackendSettings:
    """Who makes the answers. Raises Problem for a value that cannot work."""

    kind: Literal["engine", "openai", "vllm"] = "engine"  # this process, any OpenAI-compatible server, or vLLM
    url: str = ""  # of the server, for example "http://127.0.0.1:8000"
    key: str = field(default="", repr=False)  # what the server asks for as its API key; best in RATCHET_BACKEND_KEY
    model: str = ""  # the server's name for the base; empty where it serves exactly one
    adapters: str = ""  # vllm: the path at which the server sees the home folder; empty where it is the same
    timeout: float = 60.0  # seconds without a word from the server after which it is given up
    connections: int = 256  # requests that the server is sent at the same time

    def __post_init__(self) -> None:
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise Problem(f"The backend's timeout is {self.timeout}.", hint="Give a number above 0.")
        if self.connections < 1:
            raise Problem(f"The backend's connections is {self.connections}.", hint="Give at least 1.")
        if not (self.key.isascii() and self.key.isprintable()):
            raise Problem("The backend's key holds a character that no header can.", hint="Copy it again.")
        if self.kind == "engine":
            return
        if not self.url:
            raise Problem(f"The backend is {self.kind}, but backend.url is empty.", hint="Give the server's address.")
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            sound = False
        # The address stands in messages and logs, where no secret may be.
        if not sound or "@" in parts.netloc or parts.query or parts.fragment:
            hint = "Give http://HOST:PORT without a user, a password or a query; a key goes into backend.key."
            raise Problem("backend.url is no plain address of a server.", hint=hint)


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn. Raises Problem for a value outside its range."""

    temperature: float = 0.8  # 0 takes the likeliest token each time
    top_p: float = 1.0  # keep the smallest set of tokens whose probabilities sum to this; 1 keeps all
    top_k: int = 0  # keep this many likeliest tokens; 0 keeps all
    min_p: float = 0.0  # keep tokens at least this share as probable as the likeliest; 0 keeps all
    repetition_penalty: float = 1.0  # above 1: what stands in the prompt or the answer already becomes less probable
    max_tokens: int | None = None  # the answer's longest length; None: by the context (`lm.lengths`)
    stop: tuple[str, ...] = ()  # the answer ends before the first of these texts
    seed: int | None = None  # same seed, same prompt, same version: same answer; None draws afresh
    ignore_eos: bool = False  # go on after the model's end token (for measurements of speed)
    top_logprobs: int = 0  # likeliest tokens told at each position, with their log-probabilities

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
        if not 0 <= self.top_logprobs <= MOST_TOLD:
            refuse("top_logprobs", f"a whole number from 0 to {MOST_TOLD}")
        if self.max_tokens is not None and self.max_tokens < 1:
            refuse("max_tokens", "a whole number from 1 up")
        if any(not text for text in self.stop):
            refuse("stop", "texts that are not empty")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            refuse("seed", "a whole number of at most 64 bits")
