"""The reward model on its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.frame import command, frozen_ratings, loaded, model_option, opened, reward
from console import Outcome, Progress, finite
from problems import Problem
from settings import Settings

if TYPE_CHECKING:
    from reward.report import RewardReport


@command(reward, "fit")
@model_option
def reward_fit(settings: Settings, progress: Progress) -> Outcome:
    """Fit a reward model to the ratings in the store and report its holdout accuracy."""
    from reward.model import fit_reward
    from reward.readable import lines as left_out_lines
    from reward.report import reward_report
    from store.raters import agreement

    folder, draft = settings.home / "reward", settings.home / "reward.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    with opened(settings) as store:
        base = loaded(settings, store)
        frozen, left_out = frozen_ratings(settings, store, base)
        model = fit_reward(base, frozen, settings.reward, progress)
        model.save(draft)
        shutil.rmtree(folder, ignore_errors=True)  # the page in it speaks of the model before
        draft.rename(folder)
        with store.session(reading=True) as session:
            report = reward_report(model, frozen, agreement(session))
    text = "\n".join([*left_out_lines(left_out), report.to_text()])
    return Outcome(report.to_json() | {"left_out": left_out}, text)


@command(reward, "report")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Where the page goes [report.html in the home's reward]; its figures go beside it, as JSON.",
)
@model_option
def reward_report_(settings: Settings, progress: Progress, html: Path | None) -> Outcome:
    """Measure the fitted reward model on the holdout, and write a page about it."""
    from reward.judges import habits
    from reward.model import load_reward
    from reward.readable import lines as left_out_lines
    from reward.report import learning_curve, reward_report
    from store.raters import agreement, raters

    page = html or settings.home / "reward" / "report.html"
    _check_page(page)
    with opened(settings) as store:
        base = loaded(settings, store)
        frozen, left_out = frozen_ratings(settings, store, base)
        model = load_reward(settings.home / "reward", base)
        with store.session(reading=True) as session:
            report = reward_report(model, frozen, agreement(session))
            said = {rater.person: habits(rater) for rater in raters(session)}
    for rater in report.raters:
        rater["suspicions"] += said.get(rater["person"], [])
    report = replace(report, curve=learning_curve(model, frozen, lambda done, of: progress("learning curve", done, of)))
    figures = _write_page(report, page)
    data = report.to_json() | {"left_out": left_out, "html": str(page), "json": str(figures)}
    text = "\n".join([*left_out_lines(left_out), report.to_text()])
    return Outcome(data, f"{text}\nThe page is {page}, its figures {figures}.")


def _check_page(page: Path) -> None:
    """Raise `Problem` before the long work if the page cannot be of this name."""
    if page.is_dir() or page.suffix.lower() not in (".html", ".htm"):
        raise Problem(f"The page cannot be {page}.", hint="Name a file that ends with .html.", status=2)


def _write_page(report: RewardReport, page: Path) -> Path:
    """Write the page, and the report as JSON under the same name beside it, whose path is returned."""
    from reward.page import report_page

    figures = page.with_suffix(".json")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(report_page(report), encoding="utf-8")
        figures.write_text(json.dumps(finite(report.to_json()), ensure_ascii=False, indent=2), encoding="utf-8")
    except OSError as error:
        raise Problem(f"The page cannot be written to {page}: {error}.", hint="Name another file by --html.") from error
    return figures


@command(reward, "score")
@click.option("--prompt", required=True, help="What was asked.")
@click.option("--answer", "answers", required=True, multiple=True, help="An answer to it; may be given several times.")
@model_option
def reward_score(settings: Settings, progress: Progress, prompt: str, answers: tuple[str, ...]) -> Outcome:
    """Score answers to a prompt with the fitted reward model and the rules that are now in the settings."""
    from reward.model import load_reward

    with opened(settings) as store:
        model = load_reward(settings.home / "reward", loaded(settings, store))
    model = replace(model, settings=replace(model.settings, rules=settings.reward.rules))
    scores = model.score([[{"role": "user", "content": prompt}]] * len(answers), answers)
    rows = [
        {
            "answer": answer,
            "mean": float(scores.mean[i]),
            "deviation": float(scores.deviation[i]),
            "value": float(scores.value[i]),
            "heads": float(scores.heads[i]),
            "rules": {name: float(figures[i]) for name, figures in scores.rules.items()},
        }
        for i, answer in enumerate(answers)
    ]
    return Outcome({"scores": rows}, "\n".join(_line(row) for row in rows))


def _line(row: dict[str, Any]) -> str:
    """An answer's reward, what it is made of, and the answer."""
    parts = [f"mean {row['mean']:+.2f}"]
    if row["rules"]:
        parts += [f"heads {row['heads']:+.2f}", *(f"{name} {part:+.2f}" for name, part in row["rules"].items())]
    return f"{row['value']:+.2f} ({', '.join(parts)})  {row['answer']}"
