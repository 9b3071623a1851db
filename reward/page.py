"""The reward model's report as a page: one file that asks nothing of other sites, for whoever runs the chat.

What the figures mean is in `findings`, the plots are in `plots`, the looks in `page_style`.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from reward.findings import KINDS, Finding, findings, is_suspect, known, percent
from reward.page_parts import bar, code, count, dash, mark, pairs, share, signed, table, tile
from reward.page_style import CSS
from reward.plots import calibration_plot, curve_plot, length_plot
from reward.report import RewardReport

REGIMES = {"heads": "small heads on the frozen base", "lora": "heads and an adapter of the base"}
ROWS = 200  # raters shown at most
TITLES = {
    "accuracy": "Accuracy",
    "kinds": "By kind of rating",
    "calibration": "Confidence",
    "length": "Length",
    "curve": "More ratings",
    "agreement": "Agreement",
    "raters": "Raters",
    "rules": "Rules",
}
MEANS = {
    "accuracy": "When people compared two answers, how often does the reward model prefer the one that they preferred? "
    "It is asked about comparisons that it did not learn from; tossing a coin would be right on half of them.",
    "kinds": "The same question for each kind of rating that was set aside: does the model say what people said?",
    "calibration": "Where the model gives its choice a chance of 80%, it should be right 80% of the time, which is on "
    "the dashed line. Below the line it is too sure of itself, above it too modest.",
    "length": "People often rate longer answers higher by habit, and a model that learns this talks more and more. One "
    "reward is one standard deviation of the rated answers' rewards.",
    "curve": "How often it is right after learning from a part of the ratings. While the line rises, every further "
    "rating helps.",
    "agreement": "Several heads judge every answer; where they disagree the model is unsure. People disagree too, and "
    "no model can be right more often than they agree.",
    "raters": "Who gave the evidence and how far it is believed. A low weight means that these ratings count less than "
    "others because they do not fit what other people say.",
    "rules": "Rules are written by you, not learned. They add to the reward of an answer, or take from it.",
}


def report_page(report: RewardReport) -> str:
    """The page as HTML; the same report gives the same page."""
    found = findings(report)
    bodies = {
        "accuracy": "",
        "kinds": _kinds(report),
        "calibration": _calibration(report),
        "length": _length(report),
        "curve": _curve(report),
        "agreement": _agreement(report),
        "raters": _raters(report),
        "rules": _rules(report),
    }
    plots = {
        "calibration": _calibration_plot(report),
        "length": _length_plot(report),
        "curve": _curve_plot(report),
    }
    sections = (_section(name, found[name], body, plots.get(name, "")) for name, body in bodies.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>Reward model report</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"{_header(report)}{_tiles(report)}{_glance(found)}{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _header(report: RewardReport) -> str:
    regime = REGIMES.get(report.regime, report.regime)
    return (
        '<header>\n<p class="over">Ratchet</p>\n<h1>How far can the reward be trusted?</h1>\n<p class="facts">'
        f"<span>Learned from <b>{report.train:,}</b> ratings</span>"
        f"<span><b>{report.holdout:,}</b> set aside</span>"
        f"<span>Fitted: <b>{escape(regime)}</b></span>"
        f"<span>Dataset <code>{escape(report.dataset[:16])}</code></span></p>\n</header>\n"
    )


def _tiles(report: RewardReport) -> str:
    held = {"accuracy": report.accuracy, "low": report.low, "high": report.high, "n": report.n}
    tiles = (
        tile("Right on comparisons set aside", held, "no comparison was set aside"),
        tile("Right on the others, each judged unseen", report.crossfit, "not measured: too few ratings or people"),
        tile("Two people agree with each other", report.ceiling, "nobody judged the same two answers as another"),
    )
    return f'<div class="tiles">\n{"".join(tiles)}</div>\n'


def _glance(found: Mapping[str, Finding]) -> str:
    lines = (
        f'<li><a href="#{name}">{mark(finding)}<b>{TITLES[name]}</b><span>{escape(finding.said)}</span></a></li>\n'
        for name, finding in found.items()
    )
    return f'<nav class="glance" aria-label="At a glance"><ul>\n{"".join(lines)}</ul></nav>\n'


def _section(name: str, finding: Finding, body: str, plot: str) -> str:
    advice = f'<p class="do"><b>What to do:</b> {code(finding.advice)}</p>' if finding.advice else ""
    words = f'<p class="means">{MEANS[name]}</p><p class="said">{escape(finding.said)}</p>{advice}'
    if name == "accuracy":
        words += (
            '<p class="legend">In the bars above, the mark is what was measured, the shade is where the true share '
            "lies nineteen times out of twenty, and the thin line is a coin.</p>"
        )
    inner = f'<div class="split"><div>{words}{body}</div><figure>{plot}</figure></div>' if plot else words + body
    return f'<section id="{name}"><div class="head"><h2>{TITLES[name]}</h2>{mark(finding)}</div>\n{inner}</section>\n'


def _kinds(report: RewardReport) -> str:
    rows = []
    for kind in sorted(report.by_kind, key=[*KINDS, *sorted(report.by_kind)].index):
        row = report.by_kind[kind]
        accuracy = known(row.get("accuracy"))
        right = dash("none was set aside") if accuracy is None else percent(accuracy)
        rows.append([escape(KINDS.get(kind, kind)), count(row.get("n")), right, bar(row)])
    if not rows:
        return f"<p>{dash('nothing was set aside')}</p>"
    return table(["Kind", "Ratings", "Right", "Where the true share lies"], rows, numbers=(1, 2))


def _calibration(report: RewardReport) -> str:
    crossfit = report.crossfit
    none, unseen = "no comparison was set aside", "not measured: too few ratings or people"
    figures = {
        "Off by, on comparisons set aside": share(report.ece, none),
        "Off by, on the others judged unseen": share(crossfit.get("ece"), unseen),
        "The same before it was corrected": share(crossfit.get("ece_before"), unseen),
    }
    rows = [[percent(each["chance"]), percent(each["accuracy"]), count(each["n"])] for each in _bins(report)]
    if not rows:
        return pairs(figures)
    curve = table(["Chance given", "Right", "Comparisons"], rows, numbers=(0, 1, 2))
    return f"{pairs(figures)}<details><summary>The curve as a table</summary>{curve}</details>"


def _bins(report: RewardReport) -> list[dict[str, float]]:
    return [
        each for each in report.calibration if all(known(each.get(k)) is not None for k in ("chance", "accuracy", "n"))
    ]


def _calibration_plot(report: RewardReport) -> str:
    bins = _bins(report)
    return calibration_plot(bins) if bins else ""


def _length(report: RewardReport) -> str:
    few = "too few rated answers"
    return pairs(
        {
            "Ten times as long, as used": signed(report.length.get("slope"), few, " rewards"),
            "The same with the length head": signed(report.length.get("slope_raw"), few, " rewards"),
        }
    )


def _length_plot(report: RewardReport) -> str:
    points = [p for p in report.length.get("points") or [] if len(p) == 3 and all(known(x) is not None for x in p)]
    slopes = known(report.length.get("slope")), known(report.length.get("slope_raw"))
    return length_plot(points, *slopes) if points else ""


def _points(report: RewardReport) -> list[dict[str, float]]:
    return [each for each in report.curve if all(known(each.get(k)) is not None for k in ("ratings", "accuracy"))]


def _curve(report: RewardReport) -> str:
    rows = [
        [count(each["ratings"]), percent(each["accuracy"]), bar(each), count(each.get("n"))] for each in _points(report)
    ]
    if not rows:
        return f"<p>{dash('not measured: too few ratings')}</p>"
    heads = ["Learned from", "Right", "Where the true share lies", "Comparisons"]
    return f"<details><summary>The curve as a table</summary>{table(heads, rows, numbers=(0, 1, 3))}</details>"


def _curve_plot(report: RewardReport) -> str:
    points = _points(report)
    return curve_plot(points, known(report.ceiling.get("accuracy"))) if points else ""


def _agreement(report: RewardReport) -> str:
    figures = {"Heads agree on": share(report.head_agreement, "no pair to judge")}
    for kind, alpha in report.people.items():
        why = "nobody rated what another had rated, or all said the same"
        figures[f"People agree: {KINDS.get(kind, kind).lower()}"] = signed(alpha, why)
    note = (
        '<p class="legend">For people: Krippendorff\'s alpha. 1 is full agreement, 0 is chance, below 0 is worse.</p>'
    )
    return pairs(figures) + note


def _raters(report: RewardReport) -> str:
    def order(rater: Mapping[str, Any]) -> tuple[bool, float, str]:
        return not is_suspect(rater), -(known(rater.get("share")) or 0.0), str(rater.get("person"))

    ordered = sorted(report.raters, key=order)
    if not ordered:
        return ""
    rows, classes = [], []
    for rater in ordered[:ROWS]:
        suspicions = "".join(f"<li>{escape(str(each))}</li>" for each in rater.get("suspicions") or [])
        group = rater.get("group")
        rows.append(
            [
                f"<bdi>{escape(str(rater.get('person')))}</bdi>",
                count(rater.get("ratings")),
                share(rater.get("share"), "not known"),
                share(rater.get("weight"), "not weighed"),
                share(rater.get("reliability"), "too few to tell"),
                "" if group is None else f'<span class="chip">{escape(str(group))}</span>',
                f"<ul>{suspicions}</ul>" if suspicions else "",
            ]
        )
        classes.append("suspect" if is_suspect(rater) else "")
    heads = ["Person", "Ratings", "Of the evidence", "Weight", "Reliable", "Group", "What speaks against them"]
    more = len(ordered) - ROWS
    rest = (
        f'<p class="legend">{more:,} more people are in the file of figures beside this page.</p>' if more > 0 else ""
    )
    return table(heads, rows, numbers=(1, 2, 3, 4), classes=classes) + rest


def _rules(report: RewardReport) -> str:
    rows = [
        [
            escape(name),
            signed(row.get("mean"), "no rated answer", " rewards"),
            share(row.get("share"), "no rated answer"),
        ]
        for name, row in report.rules.items()
    ]
    return table(["Rule", "Adds on average", "Acts on"], rows, numbers=(1, 2)) if rows else ""
