"""From ratings to a version: an update, a version put to the test, and people who are programs."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, get_args

import click

from commands.frame import cli, command, loaded, model_option, opened
from console import Outcome, Progress
from problems import Problem
from rl.settings import Algorithm
from settings import Settings

if TYPE_CHECKING:
    from lm.loading import Base
    from store.database import Store


@command(cli, "update")
@click.option("--force", is_flag=True, help="Run even when there are few ratings, or none that are new.")
@click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="What moves the policy [update.algorithm].")
@click.option("--discard", is_flag=True, help="End an update that was cut off, instead of going on with it.")
@model_option
def update(settings: Settings, progress: Progress, force: bool, algorithm: Algorithm | None, discard: bool) -> Outcome:
    """Train on the ratings, prove the result, and let it serve if it passes."""
    if discard:
        return _discard(settings)
    with opened(settings) as store:
        from reward.readable import lines as left_out_lines
        from rl.update import run_update
        from rl.workspace import Knobs

        base = loaded(settings, store)
        chosen = replace(settings.update, algorithm=algorithm or settings.update.algorithm)
        knobs = Knobs(
            settings.reward,
            settings.ppo,
            settings.anchor,
            settings.stopping,
            settings.gate,
            chosen,
            settings.algorithms,
        )
        report = run_update(store, base, knobs, force=force, progress=progress, backend=settings.backend)
    if report.verdict == "nothing":
        raise Problem(f"Nothing to do: {report.why}.", hint="Rate or import more, or use --force.", status=3)
    lines = left_out_lines(report.left_out)
    lines += [f"{'ok    ' if check.passed else 'FAILED'}  {check.name}: {check.why}" for check in report.checks]
    made = "no version" if report.version is None else f"version {report.version}"
    lines.append(f"Update {report.update}: {made}, {report.verdict} ({report.seconds:.0f} s): {report.why}.")
    return Outcome(asdict(report), "\n".join(lines), 4 if report.verdict == "rejected" else 0)


def _discard(settings: Settings) -> Outcome:
    from store.updates import discard_update

    with opened(settings) as store:
        number = discard_update(store, getpass.getuser())
    said = f"Update {number} is discarded; the next `ratchet update` begins with the ratings and settings of then."
    return Outcome({"update": number, "verdict": "discarded"}, said)


@contextmanager
def _engine_with(settings: Settings, store: Store, base: Base, version: int) -> Iterator[Any]:
    """An engine that holds version `version` of the store under its number."""
    from lm.adapters import read_adapter
    from lm.engine import Engine
    from store.schema import Version

    with store.session(reading=True) as session:
        row = session.get(Version, version)
        if row is None:
            raise Problem(f"There is no version {version}.", hint="`ratchet versions` lists them.")
        folder = row.adapter
    with Engine(base, settings.engine) as engine:
        if folder:
            engine.install(str(version), read_adapter(store.home / folder, base))
        yield engine


@command(cli, "evaluate")
@click.argument("version", type=int, required=False)
@click.option("--suite", default="skills", show_default=True, help="Name of a suite, or a JSONL file.")
@click.option("--items", default=200, show_default=True, help="Questions a skill, at most.")
@click.option("--temperature", default=0.0, show_default=True, help="Of the answers; 0 is greedy.")
@model_option
def evaluate(
    settings: Settings, progress: Progress, version: int | None, suite: str, items: int, temperature: float
) -> Outcome:
    """Put a suite's questions to VERSION (the one that serves, if not given) and score the answers."""
    from lm.evaluation import evaluate as put_questions
    from lm.evaluation import table
    from lm.settings import Sampling
    from lm.suites import load_suite
    from store.versions import serving

    questions = load_suite(suite, items, settings.update.seed)
    with opened(settings) as store:
        base = loaded(settings, store)
        if version is None:
            with store.session(reading=True) as session:
                version = serving(session).id
        with _engine_with(settings, store, base, version) as engine:
            sampling = Sampling(
                temperature=temperature, max_tokens=settings.sampling.max_tokens, seed=settings.update.seed
            )
            label = f"version {version}"
            report = put_questions(
                engine, str(version), questions, sampling, lambda done: progress(label, done, len(questions))
            )
    overall = {"n": report.n, "accuracy": report.accuracy, "low": report.low, "high": report.high}
    suites = {suite: overall} | {f"{suite}/{skill}": row for skill, row in report.by_skill.items()}
    return Outcome({"version": version, "suites": suites}, table(suite, report))


@command(cli, "simulate")
@click.option("--persona", required=True, help="Whose hidden preference: terse, courteous, lively or orderly.")
@click.option("--ratings", type=int, help="How many ratings to give through the API.")
@click.option("--judge", type=int, help="Compare this version with version 0 by the hidden preference instead.")
@click.option("--url", help="The running chat [http://HOST:PORT of the settings].")
@click.option("--key", help="An API key with the scopes chat and rate, where the running chat asks for one.")
@click.option("--prompts", default=200, show_default=True, help="Held-out prompts of --judge.")
@click.option("--noise", default=0.1, show_default=True, help="Share of ratings that are turned round or random.")
@click.option(
    "--kinds",
    default="pair=0.7,thumb=0.3",
    show_default=True,
    help="Share of each kind of rating: pair, thumb, score, tags, correction.",
)
@click.option("--people", default=8, show_default=True, help="How many different people rate.")
@click.option("--threshold-spread", default=0.0, show_default=True, help="How far their idea of good enough differs.")
@click.option("--random-share", default=0.0, show_default=True, help="Share of the people who answer at random.")
@click.option(
    "--adversary-share", default=0.0, show_default=True, help="Share of the people who together push the other way."
)
@click.option("--seed", default=0, show_default=True)
@model_option
def simulate(
    settings: Settings,
    progress: Progress,
    persona: str,
    ratings: int | None,
    judge: int | None,
    url: str | None,
    key: str | None,
    prompts: int,
    noise: float,
    kinds: str,
    people: int,
    threshold_spread: float,
    random_share: float,
    adversary_share: float,
    seed: int,
) -> Outcome:
    """People who are programs: they chat and rate through the API, or judge a version by their hidden preference."""
    from chat.personas import find_persona

    who = find_persona(persona)
    if (ratings is None) == (judge is None):
        raise Problem("Give either --ratings N or --judge VERSION.", status=2)
    if judge is None:
        from chat.raters import simulate as rate
        from chat.rating_plan import read_kinds

        address = url or f"http://{settings.chat.host}:{settings.chat.port}"
        assert ratings is not None
        done = rate(
            address,
            who,
            ratings,
            noise=noise,
            seed=seed,
            people=people,
            kinds=read_kinds(kinds),
            threshold_spread=threshold_spread,
            random_share=random_share,
            adversary_share=adversary_share,
            key=key,
            progress=lambda n: progress("ratings", n, ratings),
        )
        lines = [f"{done.ratings} ratings by {done.persona}: {done.by_kind}"]
        if done.random:
            lines.append(f"at random: {', '.join(done.random)}")
        if done.adversaries:
            lines.append(f"adversaries: {', '.join(done.adversaries)}")
        return Outcome(asdict(done), "\n".join(lines))
    from chat.raters import judge as judge_version

    with opened(settings) as store:
        base = loaded(settings, store)
        with _engine_with(settings, store, base, judge) as engine:
            verdict = judge_version(
                engine, who, str(judge), n=prompts, seed=seed, temperature=settings.sampling.temperature
            )
    text = (
        f"{who.name} prefers version {judge} to version 0 on {verdict.win_rate:.1%} of {prompts} held-out prompts "
        f"[{verdict.low:.1%}, {verdict.high:.1%}]"
    )
    return Outcome({"persona": who.name, "ratings": 0, "by_kind": {}, "version": judge, **asdict(verdict)}, text)
