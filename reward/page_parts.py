"""Small pieces of the reward model's page: marks, numbers, tiles, bars and tables, as HTML.

A number that is not known is a dash with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from reward.findings import Finding, known, percent

MARKS = {"good": "Good", "look": "Worth a look", "bad": "Bad", "unknown": "Not known", "none": "None"}


def mark(finding: Finding) -> str:
    """How a section came out, as a coloured word."""
    return f'<span class="mark {finding.mark}">{MARKS[finding.mark]}</span>'


def code(text: str) -> str:
    """The text, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def dash(why: str) -> str:
    """What stands where a number is not known."""
    return f'<span class="dash">– <small>{escape(why)}</small></span>'


def share(value: Any, why: str) -> str:
    """A share, or a dash with the reason."""
    number = known(value)
    return dash(why) if number is None else percent(number)


def signed(value: Any, why: str, unit: str = "") -> str:
    """A number with its sign, or a dash with the reason."""
    number = known(value)
    return dash(why) if number is None else f"{number:+.2f}{unit}"


def count(value: Any) -> str:
    """A whole number, or a dash."""
    number = known(value)
    return dash("not counted") if number is None else f"{number:,.0f}"


def bar(figures: Mapping[str, Any]) -> str:
    """A share with its interval on a line from 0 to 100%; nothing where it has no interval."""
    at, low, high = (known(figures.get(name)) for name in ("accuracy", "low", "high"))
    if at is None:
        return ""
    between = "" if low is None or high is None else "<i></i>"
    low, high = at if low is None else low, at if high is None else high
    label = f"{percent(low)} to {percent(high)}"
    places = f"--low:{100 * low:.1f};--high:{100 * high:.1f};--at:{100 * at:.1f}"
    named = f'role="img" aria-label="{label}" title="{label}"'
    return f'<div class="bar" {named} style="{places}"><u></u>{between}<b></b></div>'


def tile(title: str, figures: Mapping[str, float], why: str) -> str:
    """A headline accuracy with its interval and number, or a dash with the reason."""
    accuracy, n = known(figures.get("accuracy")), known(figures.get("n"))
    if accuracy is None:
        return f'<div class="tile"><h3>{title}</h3><p class="big">{dash(why)}</p></div>\n'
    low, high = known(figures.get("low")), known(figures.get("high"))
    within = "" if low is None or high is None else f"{percent(low)} to {percent(high)}, "
    return (
        f'<div class="tile"><h3>{title}</h3><p class="big">{percent(accuracy)}</p>'
        f'<p class="note">{within}{count(n)} comparisons</p>{bar(figures)}</div>\n'
    )


def pairs(figures: Mapping[str, str]) -> str:
    """Names with their figures, a line each; the figures are HTML already."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{value}</dd>' for name, value in figures.items())}</dl>"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), classes: Sequence[str] = ()
) -> str:
    """A table of cells that are HTML already; on a narrow page each cell names its column."""
    kinds = [' class="number"' if index in numbers else "" for index in range(len(heads))]
    top = "".join(f"<th{kind}>{head}</th>" for head, kind in zip(heads, kinds, strict=True))
    lines = []
    for number, row in enumerate(rows):
        cells = (
            f'<td data-label="{head}"{kind if cell else " class=empty"}>{cell}</td>'
            for head, kind, cell in zip(heads, kinds, row, strict=True)
        )
        named = f' class="{classes[number]}"' if number < len(classes) and classes[number] else ""
        lines.append(f"<tr{named}>{''.join(cells)}</tr>\n")
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{''.join(lines)}</tbody></table>"
