"""What both sides of `bench/ppo.py` share: the task, its reward, and how a run is measured.

Imported in two environments, so it knows neither trainer: torch and the standard library only.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

EVERY = 4  # one token in so many is in the chosen set
SAID = "RESULT "  # begins the line that a run ends with


@dataclass(frozen=True)
class Task:
    """One run: what is trained on what, for how long, and in which variant of the trainer."""

    model: str  # folder
    prompts: list[str]  # of one user's turn each
    prompt_ids: list[list[int]]  # the same in the model's chat template
    new_tokens: int  # longest answer
    episodes: int  # answers a rollout
    updates: int  # rollouts
    minibatch: int = 8  # answers an optimizer step
    epochs: int = 4  # passes over a rollout
    learning_rate: float = 3e-4  # of AdamW, constant
    kl: float = 0.02  # strength of the KL in the reward, constant
    value_weight: float = 0.1  # of the value loss
    temperature: float = 1.0
    rank: int = 16
    alpha: float = 32.0
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    dtype: str = "bfloat16"  # of the frozen base
    variant: dict[str, Any] = field(default_factory=dict)  # what else differs from the trainer as it comes

    @property
    def longest_prompt(self) -> int:
        """Tokens."""
        return max(len(ids) for ids in self.prompt_ids)

    def write(self, file: Path) -> None:
        """As JSON, for `read_task`."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_task() -> Task:
    """The task in the file that the command line names; sets torch's threads."""
    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    return task


def chosen(ids: torch.Tensor) -> torch.Tensor:
    """Which tokens pay; those that pad and end answers do not."""
    return ids % EVERY == EVERY - 1


def rewards(answers: Sequence[Sequence[int]], new_tokens: int) -> list[float]:
    """Chosen tokens of each answer, as a share of those that an answer may have."""
    return [float(chosen(torch.tensor(ids)).sum()) / new_tokens for ids in answers]


class Meter:
    """Time, memory and reward of one run in this process."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.scores: list[float] = []  # mean reward of each rollout
        gc.collect()
        self.idle = _resident("VmRSS")

    def run(self, train: Callable[[], Any], episodes: int) -> None:
        """Time `train` and print the result for the process that waits."""
        used, begun = _processor(), time.perf_counter()
        train()
        if self.device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
        result = {
            "episodes": episodes,
            "seconds": seconds,
            "cpu_seconds": _processor() - used,
            "peak_mb": _resident("VmHWM"),
            "idle_mb": self.idle,
            "scores": self.scores,
        }
        if self.device != "cpu":
            result["gpu_mb"] = torch.cuda.max_memory_allocated() / 1e6
        print(SAID + json.dumps(result), flush=True)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident(name: str) -> float:
    """MB, of this program alone: getrusage's maximum would begin with what the starting process held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the system does not tell {name}")
