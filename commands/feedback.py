"""Feedback in and out, a single rating, and the whole store in one archive."""

from __future__ import annotations

import functools
import getpass
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.frame import cli, command, opened, rating
from console import Outcome, Progress
from settings import Settings

if TYPE_CHECKING:
    from store.imports import ImportReport


def _rows_done(progress: Progress, name: str, rows: int) -> None:
    progress(f"{name}, {rows} rows", rows, 0)


@command(cli, "import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_", default="auto", show_default=True, help="Name of the format, or auto.")
@click.option("--skip-bad", is_flag=True, help="Leave out rows that cannot be read instead of importing nothing.")
def import_(settings: Settings, progress: Progress, files: tuple[Path, ...], format_: str, skip_bad: bool) -> Outcome:
    """Bring opinions, conversations and prompts from FILES into the store: all of a file or nothing, and nothing twice.

    \b
    Formats, told from the rows unless named:
      trl-preference, trl-unpaired, trl-prompt, hh-rlhf     TRL and Anthropic
      sharegpt, alpaca, kto                                 LLaMA-Factory
      open-webui-feedback, open-webui-chats, librechat, chat-ui, gradio
      fastchat, lmarena, helpsteer, nectar                  votes and rankings on the hub
      feel, pykoi, argilla, openai-logs
    JSON array or JSON lines, plain or gzip; Parquet; Gradio's CSV; pykoi's SQLite.
    """
    from store.imports import import_file

    def load(file: Path) -> ImportReport:
        said = functools.partial(_rows_done, progress, file.name)
        return import_file(store, file, format_, skip_bad, progress=said)

    with opened(settings) as store:
        reports = [load(file) for file in files]
    problems = [problem for report in reports for problem in report.problems]
    total: dict[str, Any] = {
        "imported": sum(report.imported for report in reports),
        "skipped": sum(report.skipped for report in reports),
        "duplicates": sum(report.duplicates for report in reports),
        "format": ", ".join(dict.fromkeys(report.format for report in reports)),
        "reasons": dict(sum((Counter(report.reasons) for report in reports), Counter()).most_common()),
        "problems": problems,
    }
    text = "{imported} imported, {skipped} skipped, {duplicates} already there ({format})".format(**total)
    reasons = [f"  {number} left out: {reason}" for reason, number in total["reasons"].items()]
    return Outcome(total, "\n".join([*problems, text, *reasons]))


@command(cli, "export")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--as",
    "as_",
    type=click.Choice(["preference", "unpaired", "prompt", "sft"]),
    default="preference",
    show_default=True,
    help="Pairs, thumbs, prompts alone, or conversations that end with a correction.",
)
@click.option("--format", "format_", help="jsonl, jsonl.gz or parquet [by the ending of OUT].")
@click.option("--license", "license_", help="For the dataset card: its id on the Hugging Face hub, such as cc-by-4.0.")
@click.option("--scrub/--no-scrub", default=True, show_default=True, help="Replace personal data by placeholders.")
@click.option(
    "--llama-factory/--no-llama-factory",
    default=True,
    show_default=True,
    help="Also write dataset_info.json, and the rows in LLaMA-Factory's columns where it needs others.",
)
def export(
    settings: Settings,
    progress: Progress,
    out: Path,
    as_: str,
    format_: str | None,
    license_: str | None,
    scrub: bool,
    llama_factory: bool,
) -> Outcome:
    """Write the ratings to OUT in TRL's columns, as JSON lines or Parquet, with a dataset card beside it."""
    from store.exports import export as write_export

    with opened(settings) as store:
        report = write_export(
            store,
            out,
            as_,
            format=format_,
            license=license_,
            scrub=scrub,
            llama_factory=llama_factory,
            progress=progress,
        )
    data = asdict(report)
    data["as"] = data.pop("as_")
    lines = [f"{report.rows} rows written to {report.path} as {as_}; the card is {report.card}."]
    lines += [f"left out: {number}, {why}" for why, number in report.left_out.items()]
    for column, kinds in (report.scrubbed or {}).items():
        lines.append(f"scrubbed from {column}: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items()))
    return Outcome(data, "\n".join(lines))


@command(rating, "show")
@click.argument("number", type=int)
def rating_show(settings: Settings, progress: Progress, number: int) -> Outcome:
    """Show the rating of this NUMBER: by whom, on which answer, and whether it still holds."""
    from store.single_rating import show_rating

    with opened(settings) as store, store.session(reading=True) as session:
        found = show_rating(session, number)
    lines = [
        f"rating {found.id}: {found.kind} {json.dumps(found.value, ensure_ascii=False)} by {found.person}, "
        f"{found.created[:19]} ({found.surface}){'' if found.present else ', holds no more'}",
        f"conversation {found.conversation}, generation {found.generation}",
        *(f"  {message.get('role')}: {message.get('content')}" for message in found.messages),
        f"  answer: {found.answer}",
    ]
    if found.other is not None:
        lines.append(f"  other answer ({found.other}): {found.other_answer}")
    return Outcome(asdict(found), "\n".join(lines))


@command(rating, "drop")
@click.argument("number", type=int)
@click.option("--reason", default="", help="Kept in the audit.")
def rating_drop(settings: Settings, progress: Progress, number: int, reason: str) -> Outcome:
    """Withdraw the rating of this NUMBER: nothing is removed, but no later update learns from it."""
    from store.single_rating import drop_rating

    with opened(settings) as store, store.session() as session:
        row = drop_rating(session, number, getpass.getuser(), reason)
    return Outcome({"rating": number, "who": row.who, "reason": row.reason}, f"Dropped {row.reason}.")


@command(cli, "backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(settings: Settings, progress: Progress, file: Path) -> Outcome:
    """Write the store, in use or not, to FILE: one archive, for either database."""
    from store.backup import backup as write_backup

    with opened(settings) as store:
        report = write_backup(store, file)
    lost = [f"Not there, though the store names it: {folder}" for folder in report.missing]
    text = f"{report.counts['ratings']} ratings and {report.files} files written to {file} ({report.bytes} bytes)."
    return Outcome(asdict(report), "\n".join([*lost, text]))


@command(cli, "restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Give up what the store holds now.")
def restore(settings: Settings, progress: Progress, file: Path, replace: bool) -> Outcome:
    """Put the backup in FILE into an empty store, which nobody uses meanwhile."""
    from store.restore import restore as read_backup

    report = read_backup(file, settings.home, settings.database_url, replace=replace)
    text = f"{report.counts['ratings']} ratings and {report.files} files restored to {report.home}."
    return Outcome(asdict(report), text)
