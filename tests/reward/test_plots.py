"""The plots as SVG: in the page's colours, alike every time, and drawn from whatever a report may hold."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET

from reward.plots import NAMES, calibration_plot, curve_plot, length_plot
from reward.report import RewardReport


def drawn(full: RewardReport) -> dict[str, str]:
    return {
        "calibration": calibration_plot(full.calibration),
        "length": length_plot(full.length["points"], 0.08, 0.93),
        "curve": curve_plot(full.curve, 0.741),
    }


def test_plots_are_whole_svg_in_the_pages_colours(full: RewardReport) -> None:
    for name, svg in drawn(full).items():
        root = ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        assert root.get("width") is None
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "<text" in svg  # words are words, not outlines
        assert "var(--accent)" in svg
        assert not any(colour in svg for colour in NAMES)
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) == set()
        assert all(each.startswith(f"{name}-") for each in re.findall(r'\sid="([^"]*)"', svg))
        assert set(re.findall(r'(?:url\(|href=")#([^")]*)', svg)) <= set(re.findall(r'\sid="([^"]*)"', svg))
        assert "<metadata" not in svg
        assert "<style" not in svg


def test_plots_are_alike_every_time(full: RewardReport) -> None:
    assert drawn(full) == drawn(full)


def test_nothing_of_pyplot_is_touched(full: RewardReport) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn(full)
    assert dict(matplotlib.rcParams) == before
    assert "reward.plots" in sys.modules
    assert not hasattr(sys.modules["reward.plots"], "plt")


def test_the_words_of_each_plot(full: RewardReport) -> None:
    words = {name: re.findall(r">([^<>]+)</text>", svg) for name, svg in drawn(full).items()}
    assert {"right", "pairs", "100%"} <= set(words["calibration"])
    assert {"as used", "with the length head", "5", "50", "tokens of the answer"} <= set(words["length"])
    assert {"a coin", "two people agree", "ratings learned from"} <= set(words["curve"])
    assert "two people agree" not in curve_plot(full.curve, None)
    assert "as used" not in length_plot(full.length["points"], None, None)


def test_the_smallest_of_data_is_drawn_without_a_warning() -> None:
    assert calibration_plot([{"chance": 0.6, "accuracy": 0.0, "n": 1}])
    assert length_plot([[0, 1.0, 1.0]], 0.0, 0.0)
    assert length_plot([[7, 1.0, 1.0], [7, 2.0, 0.0]], 0.5, None)
    assert length_plot([[1, -1.0, 0.0], [900_000, 1.0, 0.0]], 0.5, -0.5)
    assert curve_plot([{"ratings": 0, "accuracy": 1.0, "n": 1}], 1.0)
    assert curve_plot([{"ratings": 5, "accuracy": 0.0, "low": 0.0, "high": 0.4, "n": 3}], None)
