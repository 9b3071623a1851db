"""Plots of the reward model's page: SVG to stand inside HTML, in the page's own colours, light and dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator, PercentFormatter

from reward.findings import known

# Colours that stand for the page's: in the finished SVG each becomes var(--name).
INK, SOFT, LINE, ACCENT, SECOND = "#010203", "#020304", "#030405", "#040506", "#050607"
NAMES = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent", SECOND: "second"}
WIDTH, HEIGHT = 400, 270  # points; the page scales them
LOOK = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "ratchet",
    "font.size": 11.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "axes.unicode_minus": False,
    "legend.frameon": False,
    "legend.labelcolor": SOFT,
    "legend.fontsize": 10.5,
}


def calibration_plot(bins: Sequence[Mapping[str, float]]) -> str:
    """Accuracy against the chance given, above the number of comparisons in each bin."""
    with matplotlib.rc_context(LOOK):
        figure = _figure()
        above = figure.add_axes((0.13, 0.37, 0.86, 0.6))
        below = figure.add_axes((0.13, 0.15, 0.86, 0.16), sharex=above)
        chance, right = [each["chance"] for each in bins], [each["accuracy"] for each in bins]
        above.plot([0.5, 1], [0.5, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1.2)
        above.plot(chance, right, color=ACCENT, marker="o", markersize=5.5, linewidth=2)
        above.set_xlim(0.48, 1.02)
        above.set_ylim(min(0.45, *right) - 0.03, 1.03)
        above.tick_params(labelbottom=False)
        above.set_ylabel("right")
        above.yaxis.set_major_formatter(PercentFormatter(1, 0))
        below.bar(chance, [each["n"] for each in bins], width=0.03, color=ACCENT, alpha=0.45)
        below.set_ylabel("pairs")
        below.set_xlabel("chance that it gave to the answer it prefers")
        below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        below.xaxis.set_major_formatter(PercentFormatter(1, 0))
        below.grid(visible=False)
        return _svg(figure, "calibration", "How often it is right, against the chance that it gave")


def length_plot(points: Sequence[Sequence[float]], slope: float | None, slope_raw: float | None) -> str:
    """Reward of rated answers against their tokens: as used, and with the length head."""
    with matplotlib.rc_context(LOOK):
        figure = _figure()
        axes = figure.add_axes((0.13, 0.15, 0.86, 0.75))
        tokens = [max(1.0, point[0]) for point in points]
        for column, tilt, colour, label in (
            (2, slope_raw, SECOND, "with the length head"),
            (1, slope, ACCENT, "as used"),
        ):
            rewards = [point[column] for point in points]
            axes.plot(tokens, rewards, color=colour, marker="o", markersize=3.2, linestyle="none", alpha=0.35, mew=0)
            at = [math.log10(each) for each in tokens]
            if tilt is not None:
                level = sum(rewards) / len(rewards) - tilt * sum(at) / len(at)
                ends = [min(at), max(at)]
                axes.plot(
                    [10**x for x in ends], [level + tilt * x for x in ends], color=colour, linewidth=2.2, label=label
                )
        axes.set_xscale("log")
        _log_ticks(axes, min(tokens), max(tokens))
        axes.set_xlabel("tokens of the answer")
        axes.set_ylabel("reward")
        lines, labels = axes.get_legend_handles_labels()
        if lines:
            axes.legend(lines[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=2)
        return _svg(figure, "length", "Reward of rated answers against their length in tokens")


def curve_plot(curve: Sequence[Mapping[str, float]], ceiling: float | None) -> str:
    """Accuracy with its interval against the number of ratings learned from."""
    with matplotlib.rc_context(LOOK):
        figure = _figure()
        axes = figure.add_axes((0.13, 0.15, 0.86, 0.83))
        ratings, right = [each["ratings"] for each in curve], [each["accuracy"] for each in curve]
        low, high = ([_or(each.get(name), each["accuracy"]) for each in curve] for name in ("low", "high"))
        axes.fill_between(ratings, low, high, color=ACCENT, alpha=0.15, linewidth=0)
        axes.vlines(ratings, low, high, color=ACCENT, alpha=0.45, linewidth=1.2)
        axes.plot(ratings, right, color=ACCENT, marker="o", markersize=5.5, linewidth=2)
        edge = max(1.0, *ratings) * 1.03
        lines = [(0.5, "a coin")] + ([(ceiling, "two people agree")] if ceiling is not None else [])
        for level, label in lines:
            axes.axhline(level, color=SOFT, linestyle=(0, (4, 3)), linewidth=1.2)
            axes.text(edge, level + 0.008, label, color=SOFT, ha="right", va="bottom", fontsize=10)
        axes.set_xlim(0, edge)
        levels = [*low, *high, *(level for level, _ in lines)]
        axes.set_ylim(max(0.0, min(levels) - 0.03), min(1.04, max(levels) + 0.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("ratings learned from")
        axes.set_ylabel("right")
        return _svg(figure, "curve", "Accuracy against the number of ratings")


def _or(value: Any, otherwise: float) -> float:
    number = known(value)
    return otherwise if number is None else number


def _log_ticks(axes: Axes, low: float, high: float) -> None:
    """A few plain numbers on the logarithmic axis, whatever its range."""
    axes.set_xlim(low / 1.15, high * 1.15)
    steps = [base * 10**power for power in range(7) for base in (1, 2, 5)]
    inside = [step for step in steps if low / 1.15 <= step <= high * 1.15]
    ticks = inside if len(inside) >= 2 else sorted({round(low), round(high)})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _figure() -> Figure:
    return Figure(figsize=(WIDTH / 72, HEIGHT / 72))


def _svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `svg` element: no fixed size, ids of its own, colours by name of the page's."""
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)  # the page has its own
    text = re.sub(r'\sid="', f' id="{name}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    text = re.sub(r"\sfont:[^;\"]*;?|font-family:[^;\"]*;?", "", text)
    for colour, variable in NAMES.items():
        text = text.replace(colour, f"var(--{variable})")
    opening = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}"'
    return re.sub(r"<svg[^>]*>", f'{opening} xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)
