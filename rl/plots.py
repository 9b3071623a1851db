"""Learning curves of one training, drawn from what it logged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

CURVE, PICTURE = "curve.jsonl", "curves.png"
INK, LINE = "#5f5c57", "#e4e1db"
COLOURS = ("#2b6a5b", "#b5651d")
LOOK = {
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
# A panel: its title, and its lines: label, and the names under which the figure may stand in a row, the first first.
PANELS: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    ("reward", (("of the rollout", ("ppo/score", "reward")), ("its standard deviation", ("reward/std",)))),
    ("KL, nats an answer", (("estimate of the rollout", ("ppo/kl",)), ("at checks", ("stopping/kl",)))),
    ("length, tokens an answer", (("of the rollout", ("ppo/length", "completions/mean_length")),)),
    ("entropy, nats a token", (("of the rollout", ("ppo/entropy", "entropy")),)),
    ("win rate against the parent", (("by the held-out judge", ("stopping/win_rate",)),)),
    ("held-out reward above the parent's", (("at checks", ("stopping/gain",)),)),
)


def read_curve(file: Path) -> list[dict[str, Any]]:
    """The rows of a training's rollouts in their order; those without a rollout's figures are left out."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def curves_figure(rows: Sequence[dict[str, Any]], chosen: int | None = None) -> Figure:
    """Reward, KL, length, entropy, win rate and held-out figure against rollouts; what was checked has dots.

    Args:
        rows: from `read_curve`; one a rollout.
        chosen: optimizer step of the check that became the candidate, marked by an upright line.
    """
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(10.5, 5.4), layout="constrained")
        panels = figure.subplots(2, 3)
        for axes, (title, lines) in zip(panels.flat, PANELS, strict=True):
            drawn = [_draw(axes, rows, *line, colour) for line, colour in zip(lines, COLOURS, strict=False)]
            axes.set_title(title)
            axes.set_xlim(0.5, len(rows) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            if not any(drawn):
                axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=INK)
                continue
            for place, row in enumerate(rows, 1):
                if row["step"] == chosen:
                    axes.axvline(place, color=INK, linestyle=(0, (4, 3)), linewidth=1.0, label="candidate")
            axes.legend(fontsize=8)
        for axes in panels[1]:
            axes.set_xlabel("rollouts")
        return figure


def draw_curves(folder: Path, chosen: int | None = None) -> Path | None:
    """Write the curves of the training in `folder` beside what it logged; None when it logged no rollout."""
    rows = read_curve(folder / CURVE) if (folder / CURVE).is_file() else []
    if not rows:
        return None
    file = folder / PICTURE
    curves_figure(rows, chosen).savefig(file, format="png", dpi=110)
    return file


def _draw(axes: Axes, rows: Sequence[dict[str, Any]], label: str, names: Sequence[str], colour: str) -> bool:
    """One line of a panel from the first of the names that the rows have; whether there was any."""
    name = next((name for name in names if any(name in row for row in rows)), None)
    if name is None:
        return False
    points = [(place, row[name]) for place, row in enumerate(rows, 1) if name in row]
    dots = "o" if name.startswith("stopping/") else None
    axes.plot(*zip(*points, strict=True), color=colour, marker=dots, markersize=4, linewidth=1.8, label=label)
    return True
