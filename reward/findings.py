"""What the figures of a reward model mean for whoever runs the chat: a mark, a plain sentence, and what to do.

The bounds are rules of thumb, kept here so that they can be seen and argued with in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reward.report import RewardReport

Mark = Literal["good", "look", "bad", "unknown", "none"]
KINDS = {
    "pair": "Two answers compared",
    "correction": "Corrections",
    "thumb": "Thumbs",
    "score": "Scores",
    "tags": "Tags",
}
FEW = 30  # comparisons below which an accuracy says little
BELOW_PEOPLE = 0.10  # accuracy below the agreement of people from which more can be learned
ECE_GOOD, ECE_BAD = 0.05, 0.10
ECE_FEW = 100  # comparisons below which a calibration error may be chance
SLOPE_GOOD, SLOPE_BAD = 0.3, 0.75  # deviations of reward for a tenfold longer answer
HEADS_GOOD, HEADS_BAD = 0.85, 0.70
ALPHA_GOOD, ALPHA_BAD = 0.67, 0.10  # Krippendorff (2004) draws tentative conclusions from 0.667 on
SUSPECT_SHARE = 0.20  # of the evidence
ONE_PERSON = 0.40  # of the evidence
RULE_OFTEN = 0.5  # of the rated answers
GAIN = 0.01  # accuracy between the last two points from which the curve still rises


@dataclass(frozen=True)
class Finding:
    """One section's outcome; `advice` is empty where nothing needs to be done."""

    mark: Mark
    said: str
    advice: str = ""


def known(value: Any) -> float | None:
    """The value as a finite number, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def percent(value: float) -> str:
    """A share as people read it; 0.7125 is 71.2%."""
    return f"{100 * value:.1f}%"


def named(kinds: Iterable[str]) -> str:
    """The kinds in words, in a sentence."""
    return ", ".join(KINDS.get(kind, kind).lower() for kind in kinds)


def is_suspect(rater: Mapping[str, Any]) -> bool:
    """Whether something speaks against this rater."""
    return bool(rater.get("suspicions")) or rater.get("group") is not None


def findings(report: RewardReport) -> dict[str, Finding]:
    """The finding of each section, by its name, in the order of the page."""
    return {
        "accuracy": _accuracy(report),
        "kinds": _kinds(report),
        "calibration": _calibration(report),
        "length": _length(report),
        "curve": _curve(report),
        "agreement": _agreement(report),
        "raters": _raters(report),
        "rules": _rules(report),
    }


def _accuracy(report: RewardReport) -> Finding:
    held = {"accuracy": report.accuracy, "low": report.low, "high": report.high, "n": report.n}
    best = max((held, report.crossfit), key=lambda figures: known(figures.get("n")) or 0)
    accuracy, low, n = known(best.get("accuracy")), known(best.get("low")), known(best.get("n")) or 0
    if accuracy is None or low is None or not n:
        return Finding(
            "unknown", "No comparison was set aside to measure with.", "Collect more comparisons of two answers."
        )
    said = f"It is right on {percent(accuracy)} of {n:,.0f} comparisons that it did not learn from"
    if low <= 0.5:
        more = "Collect more comparisons before an update learns from it, and look at the raters below."
        return Finding("bad", f"{said}; that cannot be told from tossing a coin.", more)
    if n < FEW:
        return Finding("look", f"{said}; those are few.", "Collect more comparisons to know it better.")
    if _apart(best, report.crossfit if best is held else held):
        return Finding(
            "look",
            f"{said}, but the two measurements differ by more than chance.",
            "People who were set aside may want something else than those it learned from: hear more of them.",
        )
    people = known(report.ceiling.get("accuracy"))
    if people is None:
        return Finding("good", f"{said}; a coin would be right on half.")
    if accuracy < people - BELOW_PEOPLE:
        return Finding(
            "look", f"{said}; two people agree on {percent(people)}.", "More ratings can still teach it something."
        )
    return Finding("good", f"{said}, about as often as two people agree ({percent(people)}).")


def _apart(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two accuracies have intervals without a common point."""
    ends = [known(figures.get(name)) for figures in (one, other) for name in ("low", "high")]
    low, high, other_low, other_high = (math.nan if end is None else end for end in ends)
    return other_low > high or other_high < low


def _kinds(report: RewardReport) -> Finding:
    measured = {
        kind: row for kind, row in report.by_kind.items() if known(row.get("accuracy")) is not None and row["n"]
    }
    if not measured:
        return Finding("unknown", "No rating of any kind was set aside to measure with.", "Collect more ratings.")
    worse = [kind for kind, row in measured.items() if row["n"] >= FEW and row["high"] < 0.5]
    chance = [kind for kind, row in measured.items() if row["n"] >= FEW and row["low"] <= 0.5 and kind not in worse]
    if worse:
        return Finding(
            "bad",
            f"It is wrong more often than right on: {named(worse)}.",
            "People may mean something else by that kind of rating; look at some of them before the next update.",
        )
    if chance:
        return Finding(
            "look", f"It predicts no better than a coin: {named(chance)}.", "Collect more ratings of that kind."
        )
    return Finding("good", "No kind of rating with enough of them goes against it.")


def _calibration(report: RewardReport) -> Finding:
    ece, n = known(report.ece), report.n
    if ece is None or not n:
        ece, n = known(report.crossfit.get("ece")), int(known(report.crossfit.get("n")) or 0)
    if ece is None or not n:
        return Finding("unknown", "There is no comparison to measure its confidence with.", "Collect more comparisons.")
    said = f"Its confidence is off by {percent(ece)} on average"
    more = "It pays too much or too little for a small difference: collect more ratings and fit it again."
    if ece <= ECE_GOOD:
        return Finding("good", f"{said}: when it is sure, it may be.")
    if ece <= ECE_BAD:
        return Finding("look", f"{said}.", more)
    if n < ECE_FEW:
        return Finding("look", f"{said}, but on {n} comparisons that may be chance.", more)
    return Finding("bad", f"{said}: do not take its chances at their word.", more)


def _length(report: RewardReport) -> Finding:
    slope = known(report.length.get("slope"))
    if slope is None:
        return Finding("unknown", "There are too few rated answers to tell.", "Collect more ratings.")
    said = f"An answer ten times as long is paid {abs(slope):.2f} rewards {'more' if slope >= 0 else 'less'}"
    if abs(slope) <= SLOPE_GOOD:
        return Finding("good", f"{said}: length alone buys next to nothing.")
    if slope < 0:
        return Finding(
            "look", f"{said}: it favours short answers.", "That is right if your people do want short answers."
        )
    if report.length.get("use", "keep") != "keep":
        return Finding(
            "look",
            f"{said}; beyond the longest rated answer length itself pays nothing, but what people like takes words.",
            "Nothing, if that is what they like. A rule of the kind length, or the gate's bound, keeps answers short.",
        )
    advice = "Set reward.length to drop and fit again, or the next version learns to talk at length."
    return Finding("look" if slope <= SLOPE_BAD else "bad", f"{said}: it favours long answers.", advice)


def _curve(report: RewardReport) -> Finding:
    points = [point for point in report.curve if known(point.get("accuracy")) is not None]
    if len(points) < 2:
        return Finding("unknown", "Too few ratings to see how it grows with them.", "Collect more ratings.")
    last, before = points[-1]["accuracy"], points[-2]["accuracy"]
    high = known(points[-1].get("high"))
    best = max(points, key=lambda point: point["accuracy"])
    if high is not None and high < best["low"]:
        return Finding(
            "look",
            "The latest ratings made it worse.",
            "Look at who gave them, in the table of raters, before you update.",
        )
    if last - before > GAIN:
        return Finding("good", "It still gets better with every rating: collecting more is worth while.")
    return Finding("good", "It has levelled off: more ratings of the same sort will teach it little.")


def _agreement(report: RewardReport) -> Finding:
    heads = known(report.head_agreement)
    alphas = {kind: alpha for kind, value in report.people.items() if (alpha := known(value)) is not None}
    if heads is None and not alphas:
        return Finding("unknown", "Nobody judged what another had judged, and no pair shows whether the heads agree.")
    apart = [kind for kind, alpha in alphas.items() if alpha < ALPHA_BAD]
    if heads is not None and heads < HEADS_BAD:
        return Finding(
            "bad", f"Its heads agree on {percent(heads)} of pairs only.", "It is guessing: collect more ratings."
        )
    if apart:
        return Finding(
            "look",
            f"People agree hardly better than chance on: {named(apart)}.",
            "They want different things, or some do not look: no reward model can please them all.",
        )
    if heads is None:
        return Finding("good", "People who judged the same agree better than chance.")
    if heads < HEADS_GOOD:
        return Finding("look", f"Its heads agree on {percent(heads)} of pairs.", "More ratings would make it surer.")
    return Finding("good", f"Its heads agree on {percent(heads)} of pairs.")


def _raters(report: RewardReport) -> Finding:
    if not report.raters:
        return Finding("unknown", "Nothing is known of who rated.")
    suspects = [rater for rater in report.raters if is_suspect(rater)]
    share = sum(known(rater.get("share")) or 0.0 for rater in suspects)
    number = f"{len(suspects)} of {len(report.raters)} people"
    advice = (
        "Look at what they rated. `ratchet person consent PERSON no` keeps somebody's ratings "
        "out of every later update."
    )
    if share > SUSPECT_SHARE:
        return Finding("bad", f"{number} look suspicious, and {percent(share)} of the evidence is theirs.", advice)
    if suspects:
        return Finding("look", f"{number} look suspicious; {percent(share)} of the evidence is theirs.", advice)
    if report.new_people:
        advice = "A key for each person says who is somebody: `ratchet key add NAME --person PERSON`."
        return Finding("look", f"{report.new_people}.", advice)
    largest = max(known(rater.get("share")) or 0.0 for rater in report.raters)
    if largest > ONE_PERSON and len(report.raters) > 2:
        return Finding("look", f"One person gave {percent(largest)} of the evidence.", "Ask more people to rate.")
    return Finding("good", "Nobody stands out.")


def _rules(report: RewardReport) -> Finding:
    if not report.rules:
        return Finding("none", "No rules are in use; the reward comes from ratings alone.")
    shares = {name: known(row.get("share")) for name, row in report.rules.items()}
    never = [name for name, share in shares.items() if share == 0]
    often = [name for name, share in shares.items() if share is not None and share > RULE_OFTEN]
    if often:
        advice = "If that is not what you want, make them narrower or lower their weight."
        return Finding("look", f"These act on more than half of the answers: {', '.join(often)}.", advice)
    if never:
        return Finding(
            "look", f"These never act: {', '.join(never)}.", "See whether they are written as you meant them."
        )
    return Finding("good", "Every rule acts on some answers and none on most.")
