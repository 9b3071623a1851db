"""New-task gain against backward transfer, for every strength of every arm: who gets more of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLOT = Path(__file__).parent.parent / "docs/images/forgetting.png"
COLOURS = ("#8c8c8c", "#c8553d", "#3b6ea5", "#5fa3a3", "#d9a441", "#8a6bb1", "#1b1b1b", "#6aa84f")


def plot(found: Mapping[str, Any], file: Path) -> None:
    """Left the sweep as thin lines and the reported seeds as large points, right the average accuracy by arm."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (plane, bars) = pyplot.subplots(
        1, 2, figsize=(10, 4.2), layout="constrained", gridspec_kw={"width_ratios": (3, 2)}
    )
    done = [(name, arm) for name, arm in found["arms"].items() if arm["n"]]
    for place, ((name, arm), colour) in enumerate(zip(done, COLOURS, strict=False)):
        if arm["sweep"]:
            gains = [row["new_task_gain"] for row in arm["sweep"]]
            kept = [row["backward_transfer"] for row in arm["sweep"]]
            plane.plot(gains, kept, color=colour, linewidth=0.8, marker=".", markersize=4, alpha=0.5)
        plane.plot(
            arm["mean"]["new_task_gain"], arm["mean"]["backward_transfer"], "o", color=colour, markersize=9, label=name
        )
        each = [seed["average"] for seed in arm["by_seed"].values()]
        bars.barh(place, arm["mean"]["average"], color=colour, height=0.6)
        bars.plot(each, [place] * len(each), "|", color="black", markersize=7, alpha=0.6)
    plane.axhline(0, color="grey", linewidth=0.8, linestyle="--")
    plane.set(
        xlabel="new-task gain", ylabel="backward transfer", title="Learned anew against kept (up and right is better)"
    )
    plane.legend(frameon=False, fontsize=8)
    bars.set_yticks(range(len(done)), [name for name, _ in done])
    bars.invert_yaxis()
    bars.set(xlabel="share of answers as wanted, all four tasks", title="Average accuracy (ticks: seeds)")
    for axis in (plane, bars):
        axis.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
