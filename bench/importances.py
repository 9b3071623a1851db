"""Our Fisher information against Avalanche's importances, and three ways to compute it against each other.

Avalanche's `EWCPlugin` runs in an environment of its own, at batch size 1, on the same base, adapter and answers: its
importances must equal ours, taken one at a time and in batches of 16, within 1e-5 of the largest in their matrix where
the model computes in float64; in float32 the difference is what rounding makes, and told. Then three ways are timed in
turn: hooks (ours, answers of any length in batches), `torch.func` (vmap in chunks of 8, padded to one length), and one
backward pass an answer.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from environments import environment
from machine import keep, machine
from peft import PeftModel
from questions import questions
from safetensors import safe_open
from torch import Tensor
from torch.func import functional_call, grad, vmap
from variants import random_adapter

from lm.adapters import write_adapter
from lm.likelihood import Completed
from lm.loading import STARTER, Base, load_base
from rl.anchor import adapter_parameters, fisher_information
from rl.policy import make_policy
from rl.replay import Replay
from rl.settings import AnchorSettings, PPOSettings
from rl.training import measure_anchor

LIMIT = 1e-5
SIDE = Path(__file__).with_name("avalanche_importances.py")


def avalanche(base: Base, replay: Replay, seed: int, dtype: str, work: Path) -> tuple[dict[str, Tensor], float]:
    """Avalanche's importances by parameter name, and its seconds."""
    packages = ["avalanche-lib==0.6.0", *(f"{name}=={version(name)}" for name in ("transformers", "peft"))]
    python = environment("avalanche", packages)
    write_adapter(work / "adapter", random_adapter(base, seed), base)
    replay.save(work / "sequences.safetensors")
    files = [work / "adapter", work / "sequences.safetensors", work / "importances.safetensors"]
    subprocess.run([python, "-W", "ignore", SIDE, STARTER, *files, dtype], check=True)
    with safe_open(files[2], framework="pt") as stored:
        seconds = float(stored.metadata()["seconds"])
        return {name: stored.get_tensor(name) for name in stored.keys()}, seconds  # noqa: SIM118 - it is no mapping


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Largest difference, as it is and against the largest importance of its matrix."""
    if set(ours) != set(theirs):
        raise SystemExit(f"other parameters: {sorted(set(ours) ^ set(theirs))[:4]}")
    apart = {name: float((value - theirs[name]).abs().max()) for name, value in ours.items()}
    return {
        "absolute": max(apart.values()),
        "relative": max(apart[name] / float(theirs[name].max()) for name in apart),
        "largest_importance": max(float(value.max()) for value in theirs.values()),
    }


def by_vmap(model: PeftModel, rows: list[Completed], chunk: int) -> dict[str, Tensor]:
    """The same information by `torch.func`, all answers padded to the longest."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in rows])
    scored = torch.tensor([[start <= t < len(tokens) for t in range(1, longest)] for tokens, start in rows]).float()
    causal = torch.full((1, 1, longest, longest), -1e9).triu(1)  # pads stand behind what reads them
    parameters = {name: p.detach() for name, p in model.named_parameters() if "lora_" in name}

    def likelihood(values: dict[str, Tensor], row: Tensor, counts: Tensor) -> Tensor:
        reads = {"input_ids": row[None], "attention_mask": causal, "use_cache": False}
        logp = functional_call(model, values, (), reads).logits[0, :-1].log_softmax(-1)
        return (logp.gather(-1, row[1:, None]).squeeze(-1) * counts).sum()

    mapped = vmap(grad(likelihood), in_dims=(None, 0, 0))
    totals = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for begin in range(0, len(rows), chunk):
        for name, value in mapped(parameters, ids[begin : begin + chunk], scored[begin : begin + chunk]).items():
            totals[name] += value.square().sum(0)
    return {name: total / len(rows) for name, total in totals.items()}


def timed(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, taken in turn; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    """Measure, print, write; exit 1 where the importances differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    result: dict[str, Any] = machine("torch", "transformers", "peft") | {
        "samples": chosen.samples,
        "avalanche": "0.6.0",
    }
    print(f"{result['machine']} {result['versions']}")
    base = load_base("starter", device="cpu", dtype="float32")
    parent = random_adapter(base, chosen.seed)
    settings = AnchorSettings(samples=chosen.samples)
    prompts = questions(base, chosen.samples, chosen.seed)
    _, replay, _ = measure_anchor(base, parent, None, prompts, PPOSettings(max_tokens=96), settings, chosen.seed)
    pad = base.tokenizer.pad_token_id
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float64", "float32"):
            asked = (
                base
                if dtype == "float32"
                else replace(base, model=load_base("starter", "cpu", "float32").model.double())
            )
            policy = make_policy(asked, parent, PPOSettings(), chosen.seed)
            for parameter in adapter_parameters(policy).values():
                parameter.data = parameter.data.to(asked.model.dtype)
            theirs, seconds = avalanche(base, replay, chosen.seed, dtype, Path(folder))
            result[dtype] = {"seconds_avalanche": seconds}
            for batch in (1, 16):
                ours = fisher_information(policy, replay.sequences, pad, batch=batch)
                result[dtype][f"batch_{batch}"] = difference(ours, theirs)
            print(dtype, result[dtype])
    policy = make_policy(base, parent, PPOSettings(), chosen.seed)
    policy.get_base_model().set_attn_implementation("eager")  # the one that can be mapped over, for every way
    rows = replay.sequences
    result["seconds"] = timed(
        {
            "hooks": lambda: fisher_information(policy, rows, pad, batch=16),
            "vmap": lambda: by_vmap(policy, rows, 8),
            "one at a time": lambda: fisher_information(policy, rows, pad, batch=1),
            "hooks, product": lambda: fisher_information(policy, rows, pad, batch=16, space="product"),
        },
        chosen.rounds,
    )
    result["vmap_ratio"] = result["seconds"]["vmap"] / result["seconds"]["hooks"]
    print(f"seconds {result['seconds']}; vmap takes {result['vmap_ratio']:.2f} times as long as hooks")
    keep("importances", result)
    if any(not result["float64"][f"batch_{batch}"]["relative"] <= LIMIT for batch in (1, 16)):
        raise SystemExit(f"importances differ by more than {LIMIT}")


if __name__ == "__main__":
    main()
