"""Our PPO beside TRL's own `PPOTrainer`, from the last release that has it, on the same task.

    python bench/ppo.py [--quick] [--shape 7m] [--pairs 3] [--updates 5]
    python bench/ppo.py --device cuda --shape 0.5b

Both train a LoRA on the same base in bfloat16, with the same prompts, reward (chosen tokens of an answer), episodes,
epochs, minibatches, lengths and threads, one after the other in turns, each run a process of its own. TRL comes from an
environment of its own, built at the first call. The model of `bench/ppo_models.py` answers at a fixed length, so that
both compute the same tokens. One more pair of runs is on the starter, whose answers end by themselves, and one on a
model of 90 million parameters, beside which the programs themselves are small.

Then each of our gains is taken away alone, and TRL is run in its other precisions and in full fine-tuning. Of every
run: episodes a second, processor time an episode, peak memory, that memory above the process with the model loaded, and
the mean reward of the last quarter of rollouts. `bench/floor.py` says what the bare matrix products would take.

On a GPU ours alone is run, with rollouts by the engine and by transformers (bench/results/ppo_gpu.json). Prints tables,
writes bench/results/ppo.json; `--quick` only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import ppo_models
import torch
from environments import environment
from floor import floor
from machine import keep, machine
from ppo_task import SAID, Task
from questions import questions
from servers import ROOT

from lm.loading import load_base, load_text
from lm.prompts import encode_chat

THEIRS = ("trl==1.12.0", "transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0")
PROMPTS = 256
LARGE = "90m"
# Threads that wait awake would count as processor time, and beside other programs take it from those that work.
# As `ratchet` sets them (ratchet.py), for both.
ALIKE = {
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "10000",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    "LRU_CACHE_CAPACITY": "128",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
HOURS = 3600  # after so many seconds a run hangs


@dataclass(frozen=True)
class Side:
    """A trainer: the Python that has it, and its script."""

    name: str
    python: str
    script: str


def run(side: Side, task: Task) -> dict[str, Any]:
    """One run as a process of its own. RuntimeError, with what it said, if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.json"
        task.write(file)
        path = str(ROOT) if side.name == "ours" else ""
        settings = os.environ | ALIKE
        settings |= {"PYTHONPATH": path, "OMP_NUM_THREADS": str(task.threads)}
        command = [side.python, str(ROOT / "bench" / side.script), str(file)]
        done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=HOURS)
    said = [line for line in done.stdout.splitlines() if line.startswith(SAID)]
    if done.returncode or not said:
        raise RuntimeError(f"{side.script} failed: {' '.join(done.stderr.split())[-800:]}")
    return dict(json.loads(said[-1].removeprefix(SAID)))


def figures(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over runs of the same task."""
    rows = []
    for each in runs:
        last = max(1, len(each["scores"]) // 4)
        row = {
            "episodes_per_second": each["episodes"] / each["seconds"],
            "cpu_seconds_per_episode": each["cpu_seconds"] / each["episodes"],
            "peak_mb": each["peak_mb"],
            "above_idle_mb": each["peak_mb"] - each["idle_mb"],
            "reward_first": each["scores"][0],
            "reward": statistics.mean(each["scores"][-last:]),
        }
        rows.append(row | ({"gpu_mb": each["gpu_mb"]} if "gpu_mb" in each else {}))
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return medians | {"runs": rows, "curves": [each["scores"] for each in runs]}


def duel(ours: Side, theirs: Side, task: Task, pairs: int) -> dict[str, Any]:
    """Both in turns; ratios are medians over pairs, so that a busy minute weighs on both sides alike.

    Seed 0 was looked at while the task was chosen, so that it is not among them.
    """
    told: dict[str, list[dict[str, Any]]] = {ours.name: [], theirs.name: []}
    for seed in range(1, pairs + 1):
        for side in (ours, theirs):
            told[side.name].append(run(side, replace(task, seed=seed)))
            say(f"{side.name}, seed {seed}", figures(told[side.name][-1:]))
    mine, other = figures(told[ours.name]), figures(told[theirs.name])

    def ratio(name: str) -> float:
        return statistics.median(a[name] / b[name] for a, b in zip(mine["runs"], other["runs"], strict=True))

    return {
        "speed_ratio": ratio("episodes_per_second"),
        "cpu_speed_ratio": 1 / ratio("cpu_seconds_per_episode"),
        "memory_ratio": ratio("peak_mb"),
        "above_idle_memory_ratio": ratio("above_idle_mb"),
        "reward_ours": mine["reward"],
        "reward_trl": other["reward"],
        "ours": mine,
        "trl": other,
    }


def say(name: str, row: dict[str, Any]) -> None:
    """A line of a table."""
    gpu = f" {row['gpu_mb']:8.0f} MB on the GPU" if "gpu_mb" in row else ""
    print(
        f"{name:44} {row['episodes_per_second']:8.2f} {row['cpu_seconds_per_episode']:9.4f} {row['peak_mb']:8.0f} "
        f"{row['above_idle_mb']:8.0f} {row['reward_first']:7.3f} {row['reward']:7.3f}{gpu}",
        flush=True,
    )


def title(text: str) -> None:
    """The head of a table."""
    print(f"\n{text}\n{'':44} {'eps/s':>8} {'CPU s/ep':>9} {'peak MB':>8} {'above':>8} {'first':>7} {'reward':>7}")


def spelled(folder: Path, texts: list[str], **knobs: Any) -> Task:
    """The task of these prompts on the model in `folder`."""
    base = load_text(str(folder))
    ids = [encode_chat(base, [{"role": "user", "content": text}]) for text in texts]
    return Task(str(folder), texts, ids, **knobs)


def ablations(ours: Side, theirs: Side, task: Task) -> list[tuple[str, Side, Task]]:
    """Ours with one gain away at a time, one larger rollout, and the other trainer in its other ways to be run."""
    small = task.episodes // 4
    narrow = {"value_dtype": "bfloat16", "autocast": False}
    return [
        ("ours", ours, task),
        ("ours, rollouts by transformers", ours, replace(task, variant={"rollouts": "transformers"})),
        ("ours, critic on a trunk of its own", ours, replace(task, variant={"critic": "separate"})),
        ("ours, base in float32", ours, replace(task, dtype="float32")),
        (f"ours, rollouts of {small}", ours, replace(task, episodes=small, updates=task.updates * 4)),
        (f"ours, rollouts of {2 * task.episodes}", ours, replace(task, episodes=2 * task.episodes)),
        ("TRL", theirs, task),
        ("TRL, no autocast", theirs, replace(task, variant={"autocast": False})),
        ("TRL, value model's weights in bfloat16", theirs, replace(task, variant=narrow)),
        ("TRL, base in float32", theirs, replace(task, dtype="float32")),
        ("TRL, base in float32, full fine-tuning", theirs, replace(task, dtype="float32", variant={"lora": False})),
        ("TRL, gradient checkpointing as by default", theirs, replace(task, variant={"checkpointing": True})),
    ]


def on_processor(options: argparse.Namespace, ours: Side, room: Path) -> None:
    """The comparison, the starter's pair, the ablation and the floor."""
    theirs = Side("trl", str(environment("trl", THEIRS)), "ppo_trl.py")
    shape = "tiny" if options.quick else options.shape
    size: dict[str, Any] = (
        {"new_tokens": 12, "episodes": 16, "updates": 2} if options.quick
        else {"new_tokens": 48, "episodes": 64, "updates": options.updates}
    )  # fmt: skip
    folder = ppo_models.make(shape, room / shape)
    task = spelled(folder, ppo_models.prompts(shape, PROMPTS, 16), threads=options.threads, **size)
    about = machine("torch", "transformers", "trl", "peft", "accelerate")
    print(about["machine"], about["versions"], "beside", *THEIRS)
    title(
        f"{shape}: {task.episodes} answers of {task.new_tokens} tokens a rollout, {task.epochs} epochs, LoRA, bfloat16"
    )
    result = about | {"trl_environment": THEIRS, "shape": shape, "task": size}
    result |= duel(ours, theirs, task, 1 if options.quick else options.pairs)
    torch.set_num_threads(task.threads)
    parts = floor(task)
    shared = parts["generation"] + parts["reference"] + parts["training"]
    result["floor"] = parts | {
        "share_ours": shared * result["ours"]["episodes_per_second"],
        "share_trl": shared * result["trl"]["episodes_per_second"],
        "share_trl_of_its_own": (shared + parts["critic"]) * result["trl"]["episodes_per_second"],
    }
    report(result)
    if options.quick:
        return
    keep("ppo", result)  # after each part: a run that is cut has what it had
    title("starter: answers that end by themselves")
    texts = [chat[0]["content"] for chat in questions(load_base("starter", "cpu"), PROMPTS, seed=1)]
    starter = spelled(ROOT / "lm/starter/weights", texts, threads=options.threads, **size | {"updates": 4})
    result["starter"] = duel(ours, theirs, starter, 1)
    report(result["starter"])
    keep("ppo", result)
    title(f"{LARGE}: as {shape}, two rollouts, a third of the rate")
    texts, knobs = ppo_models.prompts(LARGE, PROMPTS, 16), size | {"updates": 2, "learning_rate": 1e-4}
    large = spelled(ppo_models.make(LARGE, room / LARGE), texts, threads=options.threads, **knobs)
    result["large"] = {"shape": LARGE} | duel(ours, theirs, large, 1)
    report(result["large"])
    keep("ppo", result)
    title("one gain taken away at a time; TRL in its other ways")
    result["ablation"] = {}
    for name, side, variant in ablations(ours, theirs, replace(task, updates=2)):
        row = figures([run(side, variant)])
        say(name, row)
        result["ablation"][name] = {key: value for key, value in row.items() if key not in ("runs", "curves")}
        keep("ppo", result)


def report(result: dict[str, Any]) -> None:
    """The ratios of a comparison, and the floor where it was measured."""
    print(
        f"speed {result['speed_ratio']:.2f} times (by processor time {result['cpu_speed_ratio']:.2f}), memory "
        f"{result['memory_ratio']:.2f} times (above idle {result['above_idle_memory_ratio']:.2f}), reward "
        f"{result['reward_ours']:.3f} and TRL's {result['reward_trl']:.3f}"
    )
    if "floor" in result:
        shares = result["floor"]
        print(
            f"the bare products would take {1000 * sum(shares[k] for k in ('generation', 'reference', 'training')):.1f}"
            f" ms an episode: {shares['share_ours']:.0%} of our time, {shares['share_trl']:.0%} of TRL's "
            f"({shares['share_trl_of_its_own']:.0%} with its own critic's)"
        )


def on_gpu(options: argparse.Namespace, ours: Side, room: Path) -> None:
    """Ours with rollouts by the engine and by transformers."""
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("Not run: torch sees no GPU here. The command is ready for a machine that has one.")
        return
    folder = ppo_models.make(options.shape, room / options.shape)
    knobs = {"new_tokens": 128, "episodes": 64, "updates": options.updates, "threads": options.threads}
    task = spelled(folder, ppo_models.prompts(options.shape, PROMPTS, 64), device=options.device, **knobs)
    title(f"{options.shape} in bfloat16 on {torch.cuda.get_device_name()}: {knobs}")
    result = machine("torch", "transformers", "trl", "peft", "accelerate") | {"gpu": torch.cuda.get_device_name()}
    for rollouts in ("engine", "transformers"):
        told = [run(ours, replace(task, seed=seed, variant={"rollouts": rollouts})) for seed in range(options.pairs)]
        result[rollouts] = figures(told)
        say(f"rollouts by {rollouts}", result[rollouts])
    keep("ppo_gpu", result)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke of less than a minute on a tiny model")
    parser.add_argument("--shape", choices=[*ppo_models.SHAPES], default="7m")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side")
    parser.add_argument("--updates", type=int, default=5, help="rollouts of a run")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, on both sides")
    options = parser.parse_args()
    ours = Side("ours", sys.executable, "ppo_ours.py")
    with tempfile.TemporaryDirectory() as room:
        (on_processor if options.device == "cpu" else on_gpu)(options, ours, Path(room))


if __name__ == "__main__":
    main()
