"""Learning curves: what was logged is drawn, what was not is said not to be."""

from __future__ import annotations

import json
from pathlib import Path

from rl.plots import PANELS, curves_figure, draw_curves, read_curve


def rows(checked: bool = True) -> list[dict[str, float]]:
    found: list[dict[str, float]] = [
        {
            "step": 4 * n,
            "loss": 0.1,
            "ppo/score": 0.1 * n,
            "reward/std": 0.5 / n,
            "ppo/kl": 0.2 * n,
            "completions/mean_length": 30.0,
            "entropy": 1,
        }
        for n in range(1, 7)
    ]
    if checked:
        found[2] |= {"stopping/kl": 0.5, "stopping/gain": 0.2, "stopping/win_rate": 0.7}
        found[5] |= {"stopping/kl": 0.9, "stopping/gain": 0.3, "stopping/win_rate": 0.9}
    return found


def write(folder: Path, lines: list[dict[str, float]]) -> None:
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_curve_is_read_without_the_summary_of_the_whole(tmp_path: Path) -> None:
    write(tmp_path, [*rows(), {"step": 24, "train_runtime": 3.0, "train_loss": 0.1}])
    assert read_curve(tmp_path / "curve.jsonl") == rows()


def test_every_panel_shows_its_figures_against_rollouts() -> None:
    panels = curves_figure(rows(), chosen=24).axes
    assert [axes.get_title(loc="left") for axes in panels] == [title for title, _ in PANELS]
    reward, kl, length, entropy, verdicts, gain = ({line.get_label(): line for line in a.lines} for a in panels)
    assert list(reward["of the rollout"].get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert list(reward["of the rollout"].get_ydata()) == [row["ppo/score"] for row in rows()]
    assert list(reward["its standard deviation"].get_ydata()) == [row["reward/std"] for row in rows()]
    assert list(kl["at checks"].get_xdata()) == [3, 6]
    assert list(length["of the rollout"].get_ydata()) == [30.0] * 6
    assert "of the rollout" in entropy
    assert list(verdicts["by the held-out judge"].get_ydata()) == [0.7, 0.9]
    assert list(gain["at checks"].get_ydata()) == [0.2, 0.3]
    assert all(list(lines["candidate"].get_xdata()) == [6, 6] for lines in (reward, kl, verdicts, gain))


def test_what_was_not_measured_is_said() -> None:
    panels = curves_figure(rows(checked=False)).axes
    assert [[text.get_text() for text in axes.texts] for axes in panels] == [[]] * 4 + [["not measured"]] * 2


def test_the_picture_stands_beside_the_log(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) is None
    write(tmp_path, rows())
    file = draw_curves(tmp_path, chosen=12)
    assert file == tmp_path / "curves.png"
    assert file.read_bytes()[:4] == b"\x89PNG"
