"""What a stream of four tasks leaves of each: ours against the usual ways to hold a policy, and against nothing lost.

    python bench/forgetting.py [--arm NAME ...] [--seeds 6] [--sweep-seeds 1] [--processes 2] [--work DIR] [--quick]

The tasks are the starter's four skills, each with a hidden preference of its own that contradicts the others
(bench/task_stream.py). Each arm (bench/stream_arms.py) sweeps its one strength over five decades on seeds of its own;
the strength with the best average accuracy there is then run on fresh seeds, the same for every arm, and only those are
reported: table R, average accuracy, backward transfer, maximum forgetting, new-task gain (rl/forgetting.py), and paired
differences. A stream that is done stands in DIR and is not run again, so a run that was cut goes on. Prints tables and
writes bench/results/forgetting.json after every stream, and docs/images/forgetting.png in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# One thread a stream, and the streams beside each other: set before torch is loaded, here and in the processes.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("PYTHONWARNINGS", "ignore")

import torch
from forgetting_plot import PLOT, plot
from forgetting_report import show, summary
from machine import keep, machine
from stream_arms import ARMS, Budget, run_stream

from lm.loading import Base, load_base
from problems import Problem

SWEPT, REPORTED = 100, 0  # first seed of each kind
QUICK = Budget(updates=2, episodes=8, minibatch=4, prompts=8, samples=8, held_out=4)


@dataclass(frozen=True)
class Job:
    """One stream."""

    arm: str
    strength: float
    seed: int

    @property
    def file(self) -> str:
        return f"{self.arm}-{self.strength:g}-{self.seed}.json"


class Work:
    """Streams that are done, a file each, all of one budget."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file, spent = folder / "budget.json", asdict(budget)
        if not file.exists():
            file.write_text(json.dumps(spent))
        if json.loads(file.read_text()) != spent:
            raise Problem(f"The streams in {folder} had another budget.", hint="Give another folder as --work.")

    def done(self, job: Job) -> dict[str, Any] | None:
        file = self.folder / job.file
        return dict(json.loads(file.read_text())) if file.exists() else None

    def put(self, job: Job, stream: dict[str, Any]) -> None:
        draft = self.folder / f"{job.file}.tmp"
        draft.write_text(json.dumps(asdict(job) | stream))
        draft.replace(self.folder / job.file)

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted(self.folder.glob("*-*-*.json"))]


_base: Base | None = None


def _start() -> None:
    """A process of its own: one thread, and the base loaded once."""
    global _base
    torch.set_num_threads(1)
    _base = load_base("starter", device="cpu")


def _stream(job: Job, budget: Budget) -> dict[str, Any]:
    assert _base is not None
    begun = time.monotonic()
    found = run_stream(_base, ARMS[job.arm], job.strength, job.seed, budget)
    return found | {"wall": round(time.monotonic() - begun, 2)}


def run_all(work: Work, jobs: list[Job], budget: Budget, processes: int) -> Iterator[Job]:
    """Run what is not done; gives each stream as it ends."""
    left = [job for job in jobs if work.done(job) is None]
    if not left:
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_start) as pool:
        running = {pool.submit(_stream, job, budget): job for job in left}
        for ended in as_completed(running):
            work.put(running[ended], ended.result())
            yield running[ended]


def main() -> None:
    """Sweep, choose, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="may be given several times [all]")
    parser.add_argument("--seeds", type=int, default=6, help="that are reported")
    parser.add_argument("--sweep-seeds", type=int, default=1, help="others, by which strengths are chosen")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--updates", type=int, default=Budget.updates, help="rollouts a task")
    parser.add_argument("--quick", action="store_true", help="a smoke: two seeds, two strengths, next to no training")
    given = parser.parse_args()
    budget = QUICK if given.quick else Budget(updates=given.updates)
    arms = {name: ARMS[name] for name in given.arm or ARMS}
    if given.quick:
        arms = {name: replace(arm, grid=arm.grid[:2]) for name, arm in arms.items()}
        given.seeds = min(given.seeds, 2)
    work = Work(given.work / "quick" if given.quick else given.work, budget)
    facts = machine("torch", "transformers", "trl", "peft") | {
        "budget": asdict(budget),
        "seeds": list(range(REPORTED, REPORTED + given.seeds)),
        "sweep_seeds": list(range(SWEPT, SWEPT + given.sweep_seeds)),
    }
    begun = time.monotonic()

    def so_far() -> dict[str, Any]:
        return facts | summary(arms, work.all(), facts["seeds"], facts["sweep_seeds"])

    def run(jobs: list[Job]) -> None:
        for job in run_all(work, jobs, budget, given.processes):
            if not given.quick:
                keep("forgetting", so_far())
            print(f"{time.monotonic() - begun:6.0f} s  {job.arm} {job.strength:g}, seed {job.seed}", flush=True)

    swept = [(name, strength) for name, arm in arms.items() if len(arm.grid) > 1 for strength in arm.grid]
    run([Job(name, strength, seed) for seed in facts["sweep_seeds"] for name, strength in swept])
    chosen = {name: arm["chosen"] for name, arm in so_far()["arms"].items()}
    run([Job(name, chosen[name], seed) for seed in facts["seeds"] for name in arms])
    found = so_far()
    show(found)
    if given.quick:
        plot(found, work.folder / "forgetting.png")
    else:
        keep("forgetting", found)
        plot(found, PLOT)


if __name__ == "__main__":
    main()
