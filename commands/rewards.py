"""The reward model on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from commands.frame import command, frozen_ratings, loaded, model_option, opened, reward
from console import Outcome, Progress
from settings import Settings


@command(reward, "fit")
@model_option
def reward_fit(settings: Settings, progress: Progress) -> Outcome:
    """Fit a reward model to the ratings in the store and report its holdout accuracy."""
    from reward.model import fit_reward
    from reward.report import reward_report

    with opened(settings) as store:
        base = loaded(settings, store)
        frozen = frozen_ratings(settings, store)
        epochs = settings.reward.epochs
        model = fit_reward(base, frozen, settings.reward, lambda done: progress("reward model, epochs", done, epochs))
        model.save(settings.home / "reward")
        report = reward_report(model, frozen)
    return Outcome(report.to_json(), report.to_text())


@command(reward, "report")
@model_option
def reward_report_(settings: Settings, progress: Progress) -> Outcome:
    """Measure the fitted reward model on the holdout."""
    from reward.model import load_reward
    from reward.report import reward_report

    with opened(settings) as store:
        base = loaded(settings, store)
        frozen = frozen_ratings(settings, store)
        report = reward_report(load_reward(settings.home / "reward", base), frozen)
    return Outcome(report.to_json(), report.to_text())


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
