"""What an export says of itself: the report of a run, and the dataset card that the Hugging Face hub reads.

Card format: https://huggingface.co/docs/hub/datasets-cards
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from problems import Problem
from store.forms import Form

SIZES = ((1000, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        rows: how many, to `path`, in the form `as_`; `kinds` counts them by the kind of opinion.
        left_out: counts, by reason, what this form cannot hold.
        scrubbed: personal data replaced, by column and kind; None: nobody looked for any.
        sha256: of the file at `path`, 64 hexadecimal digits.
        latest: the day of the latest opinion that was read, or prompt: YYYY-MM-DD; None: there was none.
        card: the dataset card; `info`: dataset_info.json for LLaMA-Factory; `twin`: the file that it reads instead.
    """

    rows: int
    path: Path
    as_: str
    format: str
    sha256: str
    kinds: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    scrubbed: dict[str, dict[str, int]] | None = None
    latest: str | None = None
    license: str | None = None
    card: Path | None = None
    info: Path | None = None
    twin: Path | None = None


def check_license(license: str | None) -> None:
    """Problem unless it looks like a license's id on the hub."""
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,60}", license):
        raise Problem(
            f"{license!r} is no license's id.",
            hint="Use one that the Hugging Face hub lists, such as cc-by-4.0, mit or other.",
            status=2,
        )


def card_place(out: Path) -> Path:
    """Where the card of `out` goes: README.md, unless that is somebody else's or of another export."""
    readme = out.with_name("README.md")
    try:
        ours = _mark(out) in readme.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        ours = True
    return readme if ours else out.with_name(f"{out.name}.card.md")


def card_text(report: ExportReport, form: Form) -> str:
    """The card: front matter for the hub, then what a reader should know before training on it."""
    name = report.path.name
    until = f", with the opinions up to {report.latest}" if report.latest else ""
    lines = [
        "---",
        *([f"license: {json.dumps(report.license)}"] if report.license else []),
        "size_categories:",
        f"- {json.dumps(_size(report.rows))}",
        "task_categories:",
        "- text-generation",
        "tags:",
        *(f"- {tag}" for tag in ("human-feedback", "trl", f"trl-{form.name}")),
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: {json.dumps(name, ensure_ascii=False)}",
        "---",
        _mark(report.path),
        f"# {name}",
        "",
        f"{form.says} {report.rows} rows, exported by Ratchet{until}.",
        *_table("Rows", ("opinion", "rows"), report.kinds),
        *_table("Columns", ("column", "what it holds"), form.columns),
        *_table("Left out", ("why", "opinions"), report.left_out),
        "",
        "People who did not consent are never in an export.",
        *_personal(report),
        "",
        "## File",
        "",
        f"`{name}`, sha256 `{report.sha256}`.",
    ]
    if report.twin is not None:
        lines += ["", f"`{report.twin.name}` holds the same rows in columns that LLaMA-Factory reads."]
    return "\n".join(lines) + "\n"


def _mark(out: Path) -> str:
    return f"<!-- ratchet export: {out.name} -->"


def _size(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "10M<n<100M")


def _table(title: str, heads: tuple[str, str], cells: dict[str, int] | dict[str, str]) -> list[str]:
    if not cells:
        return []
    rows = [f"| {key} | {value} |" for key, value in cells.items()]
    return ["", f"## {title}", "", f"| {heads[0]} | {heads[1]} |", "|---|---|", *rows]


def _personal(report: ExportReport) -> list[str]:
    if report.scrubbed is None:
        return ["", "## Personal data", "", "Nobody looked for any: the words are as people wrote them."]
    found = [
        f"| {column} | {kind} | {number} |"
        for column, kinds in report.scrubbed.items()
        for kind, number in kinds.items()
    ]
    table = ["", "| column | kind | replaced |", "|---|---|---|", *found] if found else ["", "None was found."]
    return [
        "",
        "## Personal data",
        "",
        "E-mail addresses, telephone numbers, payment cards, IBANs and secrets were replaced by placeholders such as "
        "`<EMAIL>`. Names and postal addresses were not looked for.",
        *table,
    ]
