"""The starter's recipe, repeated: trained again from its seed for a tenth of the run, does the loss follow the record?

    python bench/starter.py [--share 0.1] [--out FOLDER]

Trains in a new folder with the recipe, seed and length that `lm/starter/weights/stages.json` records, stops after the
share of its steps, and compares the two loss curves. Prints both, writes bench/results/starter.json and the plot
docs/images/starter.png. On the machine that trained the weights the curves are equal to the last digit; on another
processor sums round otherwise, so they drift apart a little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

ROOT = Path(__file__).parent.parent
STAGES = ROOT / "lm/starter/weights/stages.json"
RESULT = ROOT / "bench/results/starter.json"
PLOT = ROOT / "docs/images/starter.png"
SAID = 10  # rows of the two curves that are printed
KNOBS = ("hidden", "layers", "heads", "inner", "batch_tokens", "muon_rate", "adam_rate")


def train_again(stage: dict[str, Any], steps: int, until: int, out: Path) -> list[list[float]]:
    """Train the recorded recipe of `steps` steps until step `until`; returns its curve as [step, loss] rows."""
    recipe = stage["recipe"]
    knobs = [word for name in KNOBS for word in (f"--{name.replace('_', '-')}", str(recipe[name]))]
    length = ["--steps", str(steps), "--until", str(until), "--seed", str(recipe["seed"]), "--out", str(out)]
    command = [sys.executable, "-m", "lm.starter.train", *length, *knobs, *(["--compile"] if recipe["compile"] else [])]
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | threads, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]
    return [[line["step"], line["loss"]] for line in lines]


def plot(recorded: list[list[float]], again: list[list[float]], path: Path) -> None:
    """Both curves, the recorded one to its end."""
    matplotlib.use("Agg")
    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(*zip(*recorded, strict=True), color="#9aa5b1", linewidth=2.5, label="recorded")
    axes.plot(*zip(*again, strict=True), color="#c2410c", linewidth=1, label="trained again")
    axes.set(xlabel="step", ylabel="loss, nats a learned token", yscale="log")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.1, help="of the recorded steps")
    parser.add_argument("--out", type=Path, help="folder of the run; a temporary one if not given")
    chosen = parser.parse_args()
    [stage] = json.loads(STAGES.read_text())
    recorded = [[row[0], row[3]] for row in stage["curve"]]
    steps = int(recorded[-1][0])
    until = round(steps * chosen.share)
    out = chosen.out or Path(tempfile.mkdtemp(prefix="starter-"))
    begun = time.monotonic()
    again = train_again(stage, steps, until, out)
    seconds = time.monotonic() - begun
    if chosen.out is None:
        shutil.rmtree(out)
    pairs = [(row, other) for row, other in zip(recorded, again, strict=False)]
    largest = max(abs(row[1] - other[1]) for row, other in pairs)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    versions = {name: version(name) for name in ("torch", "transformers", "tokenizers", "accelerate")}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine, "versions": versions, "steps": steps, "until": until, "seconds": round(seconds)}
    rows = [[int(row[0]), row[1], other[1]] for row, other in pairs]
    RESULT.write_text(json.dumps(result | {"largest_difference": largest, "curves": rows}) + "\n")
    plot(recorded, again, PLOT)
    print(f"{machine} {versions}")
    print(f"{'step':>6} {'recorded':>9} {'again':>9}")
    for step, row, other in rows[:: max(1, len(rows) // SAID)]:
        print(f"{step:>6} {row:>9.4f} {other:>9.4f}")
    print(f"{until} of {steps} steps in {seconds:.0f} s; the curves differ by at most {largest:.4f}.")


if __name__ == "__main__":
    main()
