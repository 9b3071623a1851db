"""The whole loop, measured: people with a hidden preference chat and rate, an update runs, the hidden preference judges
it.

    python bench/loop.py [--persona terse --persona courteous] [--ratings 300] [--seed 0] [--folder FOLDER]

For each persona, in a home of its own: `ratchet serve`, `ratchet simulate --ratings`, `ratchet update`, a look whether
the running server took the new version up by itself, `ratchet simulate --judge` on held-out prompts, and `ratchet
evaluate` of both versions. Prints a table, writes bench/results/loop.json and the plot docs/images/loop.png.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench/results/loop.json"
PLOT = ROOT / "docs/images/loop.png"
PATIENCE = 120  # seconds for the server to come up


def ratchet(home: Path, *words: object) -> tuple[int, dict[str, Any], float]:
    """Run a command: exit status, its JSON line, seconds."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "ratchet", *map(str, words), "--home", str(home), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), time.monotonic() - begun


def serving(url: str) -> int:
    """The version that the running server says it serves."""
    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
        return int(json.load(answer)["version"])


@contextmanager
def server(home: Path, model: str = "starter") -> Iterator[str]:
    """A running `ratchet serve`; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ratchet", "serve", "--port", str(port), "--home", str(home), "--model", model]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                serving(url)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure(persona: str, ratings: int, seed: int, items: int, prompts: int, home: Path) -> dict[str, Any]:
    """One persona's loop."""
    with server(home) as url:
        _, simulated, rating_seconds = ratchet(
            home, "simulate", "--persona", persona, "--ratings", ratings, "--seed", seed, "--url", url
        )
        status, update, update_seconds = ratchet(home, "update")
        swap = time.monotonic()
        expected = update["version"] if update["verdict"] == "promoted" else 0
        while serving(url) != expected and time.monotonic() - swap < 10:
            time.sleep(0.05)
        served = serving(url)
        swap_seconds = time.monotonic() - swap
    _, verdict, _ = ratchet(home, "simulate", "--persona", persona, "--judge", update["version"], "--prompts", prompts)
    before, after = (
        ratchet(home, "evaluate", number, "--items", items)[1]["suites"] for number in (0, update["version"])
    )
    return {
        "persona": persona,
        "seed": seed,
        "simulated": simulated,
        "rating_seconds": rating_seconds,
        "exit_status": status,
        "update": update,
        "update_seconds": update_seconds,
        "served": served,
        "swap_seconds": swap_seconds,
        "judge": {key: verdict[key] for key in ("win_rate", "low", "high", "ties")},
        "before": before,
        "after": after,
    }


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Win rates with intervals, and each skill before and after."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 1 + len(rows), figsize=(3.6 * (1 + len(rows)), 3.2), layout="constrained")
    names = [row["persona"] for row in rows]
    rates = [row["judge"]["win_rate"] for row in rows]
    errors = [[row["judge"]["win_rate"] - row["judge"]["low"] for row in rows],
              [row["judge"]["high"] - row["judge"]["win_rate"] for row in rows]]  # fmt: skip
    axes[0].bar(names, rates, yerr=errors, color="#3b6ea5", width=0.5, capsize=4)
    axes[0].axhline(0.5, color="grey", linewidth=1, linestyle="--")
    axes[0].set(ylim=(0, 1), title="Hidden preference:\nnew version against base", ylabel="win rate, ties half")
    for axis, row in zip(axes[1:], rows, strict=True):
        skills = [name for name in row["before"] if "/" in name]
        places = range(len(skills))
        for shift, part, colour in ((-0.2, "before", "#b8c4d0"), (0.2, "after", "#3b6ea5")):
            heights = [row[part][skill]["accuracy"] for skill in skills]
            axis.bar([place + shift for place in places], heights, width=0.38, color=colour, label=part)
        axis.set_xticks(list(places), [skill.split("/")[1] for skill in skills], rotation=20)
        axis.set(ylim=(0, 1.3), title=f"Skills, greedy:\n{row['persona']}")
        axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persona", action="append", help="may be given several times [terse and courteous]")
    parser.add_argument("--ratings", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of what people ask, and of their ratings")
    parser.add_argument("--items", type=int, default=500, help="questions a skill")
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts of the judge")
    parser.add_argument("--folder", type=Path, help="where the homes are kept [a temporary folder]")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)).resolve()
        personas = chosen.persona or ["terse", "courteous"]
        sizes = (chosen.ratings, chosen.seed, chosen.items, chosen.prompts)
        rows = [measure(name, *sizes, folder / name) for name in personas]
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("torch", "transformers", "trl", "peft")}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"machine": machine, "versions": versions, "rows": rows}, indent=1) + "\n")
    plot(rows, PLOT)
    print(f"{machine} {versions}")
    for row in rows:
        judge, before, after = row["judge"], row["before"], row["after"]
        print(
            f"{row['persona']}: {row['update']['verdict']}, exit {row['exit_status']}, "
            f"win rate {judge['win_rate']:.3f} [{judge['low']:.3f}, {judge['high']:.3f}] ({judge['ties']} ties); "
            f"ratings {row['rating_seconds']:.0f} s, update {row['update_seconds']:.0f} s, "
            f"swapped {row['swap_seconds']:.1f} s after it"
        )
        for skill in before:
            change = after[skill]["accuracy"] - before[skill]["accuracy"]
            print(f"  {skill:<24} {before[skill]['accuracy']:.3f} -> {after[skill]['accuracy']:.3f} ({change:+.3f})")


if __name__ == "__main__":
    main()
