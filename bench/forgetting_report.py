"""Figures of the streams: the strength that each arm's sweep chose, its reported seeds, and ours against each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from stream_arms import Arm
from task_stream import TASKS

from rl.forgetting import forgetting, paired_interval

OURS, BOUND = "combined", "joint"  # joint training sees all tasks at once: no arm of the race
FIGURES = ("average", "backward_transfer", "maximum_forgetting", "new_task_gain")
LESS_IS_BETTER = ("maximum_forgetting",)


def figures(stream: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a stream, and the share of right answers in the end."""
    return asdict(forgetting(stream["wanted"])) | {"right": float(np.mean(stream["right"][-1]))}


def summary(
    arms: Mapping[str, Arm], streams: Sequence[Mapping[str, Any]], seeds: Sequence[int], sweep_seeds: Sequence[int]
) -> dict[str, Any]:
    """All that can be said of the streams that are done.

    Returns:
        `tasks`; `arms`: by name `sweep` (a row a strength), `chosen` (None while the sweep lacks a strength), `n`,
        `mean` of each figure, `r` and `right` (mean tables), `by_seed`, `seconds`; `ours_minus`: by arm and figure the
        paired difference over the seeds that both have, and on how many of them ours is the better; `leader`: the arm
        with the best average accuracy, joint training aside; `leader_minus`: the same of that arm.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, arm in arms.items():
        mine = [stream for stream in streams if stream["arm"] == name]
        sweep = [_swept(strength, mine, sweep_seeds) for strength in arm.grid] if len(arm.grid) > 1 else []
        whole = all(row["n"] == len(sweep_seeds) for row in sweep)
        chosen = max(sweep, key=lambda row: row["average"])["strength"] if sweep and whole else None
        chosen = arm.grid[0] if not sweep else chosen
        reported = {s["seed"]: s for s in mine if s["seed"] in seeds and s["strength"] == chosen}
        by_seed = {str(seed): figures(reported[seed]) for seed in seeds if seed in reported}
        found[name] = {"about": arm.about, "sweep": sweep, "chosen": chosen, "n": len(by_seed), "by_seed": by_seed}
        if by_seed:
            found[name] |= {
                "mean": {key: _mean(by_seed, key) for key in next(iter(by_seed.values()))},
                "r": np.mean([s["wanted"] for s in reported.values()], axis=0).tolist(),
                "right": np.mean([s["right"] for s in reported.values()], axis=0).tolist(),
                "seconds": float(np.mean([s["seconds"]["all"] for s in reported.values()])),
            }
    racing = {name: arm["mean"]["average"] for name, arm in found.items() if arm["n"] and name != BOUND}
    leader = max(racing, key=lambda name: racing[name], default=None)
    return {
        "tasks": [f"{task.skill}: {task.about}" for task in TASKS],
        "arms": found,
        "ours_minus": _minus(OURS, found),
        "leader": leader,
        "leader_minus": _minus(leader, found),
    }


def _swept(strength: float, streams: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    rows = [figures(s) for s in streams if s["seed"] in seeds and s["strength"] == strength]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} if rows else {}
    return {"strength": strength, "n": len(rows)} | means


def _mean(by_seed: Mapping[str, Mapping[str, float]], key: str) -> float:
    return float(np.mean([each[key] for each in by_seed.values()]))


def _minus(ours: str | None, arms: Mapping[str, Any]) -> dict[str, Any]:
    if ours not in arms:
        return {}
    return {name: _against(arms[ours], each) for name, each in arms.items() if name != ours}


def _against(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    seeds = [seed for seed in ours["by_seed"] if seed in theirs["by_seed"]]
    found: dict[str, Any] = {}
    for key in FIGURES if seeds else ():
        mine, other = [[each["by_seed"][seed][key] for seed in seeds] for each in (ours, theirs)]
        sign = -1 if key in LESS_IS_BETTER else 1
        better = sum(sign * (a - b) > 0 for a, b in zip(mine, other, strict=True))
        found[key] = paired_interval(mine, other) | {"better_on": better, "seeds": len(seeds)}
    return found


def show(found: Mapping[str, Any]) -> None:
    """Tables, and a plain verdict."""
    print(f"\n{found['machine']} {found['versions']}")
    print(f"{found['budget']}")
    print(f"strengths chosen by average accuracy on seeds {found['sweep_seeds']}, figures of seeds {found['seeds']}")
    print("\nsweep: average accuracy / backward transfer, by strength")
    for name, arm in found["arms"].items():
        cells = [f"{r['strength']:g}: {r['average']:.3f} / {r['backward_transfer']:+.3f}" for r in arm["sweep"]]
        print(f"{name:14} {'   '.join(cells)}")
    print(f"\n{'':14} {'strength':>8} {'seeds':>5}" + "".join(f" {key[:18]:>18}" for key in (*FIGURES, "right")))
    done = {name: arm for name, arm in found["arms"].items() if arm["n"]}
    for name, arm in done.items():
        row = "".join(f" {arm['mean'][key]:18.3f}" for key in (*FIGURES, "right"))
        print(f"{name:14} {arm['chosen']:8g} {arm['n']:5}{row}   {arm['seconds']:.0f} s a stream")
    for name, arm in done.items():
        print(f"\nR of {name} (rows: the start, then after each task)")
        for row in arm["r"]:
            print("   " + "  ".join(f"{value:.2f}" for value in row))
    for one, minus in {OURS: "ours_minus", found["leader"]: "leader_minus"}.items():
        if not found[minus]:
            continue
        print(f"\n{one} minus each arm, paired by seed, with 95 % bootstrap intervals (k/n: better on k of n seeds)")
        for name, differences in found[minus].items():
            cells = [
                f"{key} {d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}] {d['better_on']}/{d['seeds']}"
                for key, d in differences.items()
            ]
            print(f"{name:14} {'; '.join(cells)}")
    rivals = {name: each for name, each in found["ours_minus"].items() if name != BOUND and each}
    if rivals:
        print("\n" + verdict(rivals))


def verdict(rivals: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether ours has the better average accuracy and backward transfer than each of the other arms."""
    both = ("average", "backward_transfer")
    sure = [name for name, each in rivals.items() if all(each[key]["low"] > 0 for key in both)]
    likely = [name for name, each in rivals.items() if all(each[key]["difference"] > 0 for key in both)]
    rest = [name for name in rivals if name not in likely]
    return (
        f"In average accuracy and backward transfer {OURS} is better than {', '.join(likely) or 'none'} in the mean, "
        f"and with both intervals above zero than {', '.join(sure) or 'none'}"
        + (f"; not than {', '.join(rest)}." if rest else ": than every arm.")
    )
