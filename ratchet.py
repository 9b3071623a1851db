"""The front door: every command of `ratchet`, each a few lines that call into a room.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 nothing to do, 4 the gate rejected the candidate.
"""

from __future__ import annotations

import functools
import getpass
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console import Outcome, Progress, show
from problems import Problem
from settings import Settings, load_settings

if TYPE_CHECKING:
    from lm.loading import Base
    from store.database import Store
    from store.datasets import Frozen
    from store.imports import ImportReport

# Threads of one pool that wait by spinning take the machine from the other pool and from other people.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a self-hosted chat tells nobody that it runs

FLAGS = ("home", "model", "host", "port")  # options that are settings, by the name of their parameter
SECTION = {"host": "chat.host", "port": "chat.port"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ratchet")
def cli() -> None:
    """Ratchet: a chat that learns from its users' ratings, and proves each step before it serves it."""


@cli.group()
def reward() -> None:
    """The reward model on its own."""


@cli.group("person")
def people() -> None:
    """What the store holds of a person: see it, hand it out, erase it."""


def command(group: click.Group, name: str) -> Callable[[Callable[..., Outcome]], Callable[..., None]]:
    """Make a function (settings, progress, ...) -> Outcome a command with the options that every command takes."""

    def register(function: Callable[..., Outcome]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(as_json: bool, debug: bool, **given: Any) -> None:
            flags = {SECTION.get(key, key): given.pop(key) for key in FLAGS if key in given}
            settings = load_settings(Path.cwd(), os.environ, flags)
            progress = Progress()
            try:
                outcome = function(settings, progress, **given)
            finally:
                progress.close()
            show(outcome, as_json)
            raise SystemExit(outcome.status)

        for option in (
            click.option("--debug", is_flag=True, help="Show the traceback of a failure."),
            click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on standard output."),
            click.option("--home", type=click.Path(path_type=Path), help="Folder of the store [ratchet-data]."),
        ):
            run = option(run)
        return group.command(name)(run)

    return register


model_option = click.option("--model", help="The base: 'starter', a folder, or an id of the hub.")


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The store of these settings, closed at the end."""
    from store.database import open_store

    store = open_store(settings.home, settings.database_url)
    try:
        yield store
    finally:
        store.close()


def loaded(settings: Settings, store: Store) -> Base:
    """The base of these settings, which must be the one that the store's versions stand on."""
    from transformers.utils import logging

    from lm.loading import load_base
    from store.versions import ensure_base

    logging.disable_progress_bar()
    base = load_base(settings.model, settings.device, settings.dtype)
    with store.session() as session:
        ensure_base(session, base.id, base.fingerprint)
    return base


def frozen_ratings(settings: Settings, store: Store) -> Frozen:
    """The present opinions, split as every update splits them."""
    from reward.settings import shares
    from store.datasets import freeze

    with store.session(reading=True) as session:
        return freeze(session, seed=settings.reward.seed, **shares(settings.reward))


@command(cli, "serve")
@click.option("--host", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on [7860].")
@model_option
@click.option("--open", "open_browser", is_flag=True, help="Open the page in this machine's browser.")
def serve(settings: Settings, progress: Progress, open_browser: bool) -> Outcome:
    """Serve the chat page and the API until interrupted."""
    from chat.server import claim

    listener = claim(settings.chat.host, settings.chat.port)  # before anything slow
    from chat import server
    from chat.app import build_app
    from lm.engine import Engine

    def ready(url: str) -> None:
        click.echo(f"Ratchet serves {base.id} at {url}")
        if open_browser:
            click.launch(url)

    with opened(settings) as store:
        base = loaded(settings, store)
        app = build_app(store, Engine(base, settings.engine), base, settings.chat, settings.sampling)
        server.serve(app, listener, ready=ready)
    return Outcome({"served": True}, "Stopped.")


@command(cli, "update")
@click.option("--force", is_flag=True, help="Run even when there are few ratings, or none that are new.")
@click.option("--algorithm", type=click.Choice(["ppo"]), default="ppo", show_default=True)
@model_option
def update(settings: Settings, progress: Progress, force: bool, algorithm: str) -> Outcome:
    """Train on the ratings, prove the result, and let it serve if it passes."""
    with opened(settings) as store:
        from rl.update import Knobs, run_update

        base = loaded(settings, store)
        knobs = Knobs(settings.reward, settings.ppo, settings.anchor, settings.gate, settings.update)
        report = run_update(store, base, knobs, force=force, progress=progress)
    if report.verdict == "nothing":
        raise Problem(f"Nothing to do: {report.why}.", hint="Rate or import more, or use --force.", status=3)
    lines = [f"{'ok    ' if check.passed else 'FAILED'}  {check.name}: {check.why}" for check in report.checks]
    lines.append(f"Update {report.update}: version {report.version} {report.verdict} ({report.seconds:.0f} s).")
    return Outcome(asdict(report), "\n".join(lines), 0 if report.verdict == "promoted" else 4)


@command(cli, "versions")
def versions(settings: Settings, progress: Progress) -> Outcome:
    """List the versions, which one serves, and every change of that."""
    from store.people import flagged_versions
    from store.versions import audit_trail, list_versions, serving

    with opened(settings) as store, store.session(reading=True) as session:
        now = serving(session).id
        flagged = flagged_versions(session)
        rows = [
            {
                "id": version.id,
                "parent": version.parent_id,
                "status": version.status,
                "dataset": version.dataset_hash,
                "created": version.created.isoformat(),
                "flagged": version.id in flagged,
            }
            for version in list_versions(session)
        ]
        audit = [_change(event) for event in audit_trail(session)]
    text = [_version_line(row, now) for row in rows] + [_change_line(change) for change in audit]
    return Outcome({"serving": now, "versions": rows, "audit": audit}, "\n".join(text))


@command(cli, "promote")
@click.argument("version", type=int)
@click.option("--force", is_flag=True, help="Even if the gate rejected it.")
def promote(settings: Settings, progress: Progress, version: int, force: bool) -> Outcome:
    """Let VERSION serve, at once, in a running chat too."""
    from store.versions import promote as promote_version

    with opened(settings) as store, store.session() as session:
        change = _change(promote_version(session, version, getpass.getuser(), "promoted by hand", force=force))
    return Outcome(change, _change_line(change))


@command(cli, "rollback")
def rollback(settings: Settings, progress: Progress) -> Outcome:
    """Let the version serve again that served before the last promotion."""
    from store.versions import rollback as roll_back

    with opened(settings) as store, store.session() as session:
        change = _change(roll_back(session, getpass.getuser()))
    return Outcome(change, _change_line(change))


def _version_line(row: dict[str, Any], serving: int) -> str:
    parent = "-" if row["parent"] is None else row["parent"]
    mark = "*" if row["id"] == serving else " "
    return (
        f"{mark} {row['id']:>3}  parent {parent:>3}  {row['status']:<9}  {row['created'][:19]}  "
        f"dataset {(row['dataset'] or '-')[:12]}{'  learned from somebody erased since' if row['flagged'] else ''}"
    )


def _change(event: Any) -> dict[str, Any]:
    return {
        "at": event.at.isoformat(),
        "who": event.who,
        "action": event.action,
        "from": event.from_version,
        "to": event.to_version,
        "reason": event.reason,
    }


def _change_line(change: dict[str, Any]) -> str:
    before = "-" if change["from"] is None else change["from"]
    return f"{change['at'][:19]}  {change['who']}: {change['action']} {before} -> {change['to']} ({change['reason']})"


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
      fastchat, feel, pykoi, argilla, openai-logs
    JSON array or JSON lines, plain or gzip; Parquet; Gradio's CSV; pykoi's SQLite.
    """
    from store.imports import import_file

    def load(file: Path) -> ImportReport:
        said = functools.partial(_rows_done, progress, file.name)
        return import_file(store, file, format_, skip_bad, progress=said)

    with opened(settings) as store:
        reports = [load(file) for file in files]
    problems = [problem for report in reports for problem in report.problems]
    total = {
        "imported": sum(report.imported for report in reports),
        "skipped": sum(report.skipped for report in reports),
        "duplicates": sum(report.duplicates for report in reports),
        "format": ", ".join(dict.fromkeys(report.format for report in reports)),
        "problems": problems,
    }
    text = "{imported} imported, {skipped} skipped, {duplicates} already there ({format})".format(**total)
    return Outcome(total, "\n".join([*problems, text]))


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


@command(people, "list")
def person_list(settings: Settings, progress: Progress) -> Outcome:
    """List the people in the store."""
    from store.people import list_people

    with opened(settings) as store, store.session(reading=True) as session:
        rows = [
            {"id": each.id, "name": each.name, "consent": each.consent, "erased": each.erased is not None}
            for each in list_people(session)
        ]
    text = [f"{row['id']:<24}  {'erased' if row['erased'] else row['name'] or '-'}" for row in rows]
    return Outcome({"people": rows}, "\n".join(text) or "Nobody yet.")


@command(people, "show")
@click.argument("person")
def person_show(settings: Settings, progress: Progress, person: str) -> Outcome:
    """Say how much the store holds of PERSON (an id or a name), and which versions learned from it."""
    from store.people import find_person, holdings

    with opened(settings) as store, store.session(reading=True) as session:
        held = asdict(holdings(session, find_person(session, person).id))
    return Outcome(held, "\n".join(f"{key:<14} {value}" for key, value in held.items()))


@command(people, "export")
@click.argument("person")
@click.argument("out", type=click.Path(path_type=Path))
def person_export(settings: Settings, progress: Progress, person: str, out: Path) -> Outcome:
    """Write all that the store holds of PERSON to OUT, as JSON."""
    from store.people import everything_of, find_person

    with opened(settings) as store, store.session(reading=True) as session:
        everything = everything_of(session, find_person(session, person).id)
    try:
        out.write_text(json.dumps(everything, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise Problem(f"{out} cannot be written: {error.strerror}.", hint="Choose another place.") from None
    counts = {key: len(rows) for key, rows in everything.items() if isinstance(rows, list)}
    return Outcome({"path": out} | counts, f"Written to {out}: " + ", ".join(f"{n} {key}" for key, n in counts.items()))


@command(people, "consent")
@click.argument("person")
@click.argument("answer", type=click.Choice(["yes", "no"]))
def person_consent(settings: Settings, progress: Progress, person: str, answer: str) -> Outcome:
    """Let the words and ratings of PERSON into training, or keep them out of all later datasets."""
    from store.conversations import set_consent
    from store.people import find_person

    with opened(settings) as store, store.session() as session:
        found = set_consent(session, find_person(session, person).id, answer == "yes")
        data = {"id": found.id, "consent": found.consent}
    return Outcome(data, f"{data['id']}: may be learned from: {answer}.")


@command(people, "erase")
@click.argument("person")
@click.option("--yes", is_flag=True, help="Do not ask. It cannot be undone.")
def person_erase(settings: Settings, progress: Progress, person: str, yes: bool) -> Outcome:
    """Erase the words and ratings of PERSON, and flag the versions that learned from them."""
    from store.people import erase, find_person

    with opened(settings) as store:
        with store.session(reading=True) as session:
            found = find_person(session, person)
        if not yes:
            click.confirm(f"Erase {found.id} ({found.name or 'no name'})? It cannot be undone.", abort=True, err=True)
        done = asdict(erase(store, found.id))
    flagged = ", ".join(map(str, done["versions"])) or "none"
    text = (
        f"Erased {done['id']}: {done['messages']} messages, {done['generations']} answers, {done['ratings']} ratings, "
        f"{done['dataset_rows']} rows of earlier datasets. Versions that learned from them: {flagged}."
    )
    return Outcome(done, text)


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
    """Score answers to a prompt with the fitted reward model."""
    from reward.model import load_reward

    with opened(settings) as store:
        model = load_reward(settings.home / "reward", loaded(settings, store))
    scores = model.score([[{"role": "user", "content": prompt}]] * len(answers), answers)
    rows = [
        {"answer": answer, "mean": float(mean), "deviation": float(deviation), "value": float(value)}
        for answer, mean, deviation, value in zip(answers, scores.mean, scores.deviation, scores.value, strict=True)
    ]
    text = "\n".join(f"{row['value']:+.2f} (mean {row['mean']:+.2f})  {row['answer']}" for row in rows)
    return Outcome({"scores": rows}, text)


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
@click.option("--prompts", default=200, show_default=True, help="Held-out prompts of --judge.")
@click.option("--noise", default=0.1, show_default=True, help="Share of ratings that are turned round.")
@click.option("--seed", default=0, show_default=True)
@model_option
def simulate(
    settings: Settings,
    progress: Progress,
    persona: str,
    ratings: int | None,
    judge: int | None,
    url: str | None,
    prompts: int,
    noise: float,
    seed: int,
) -> Outcome:
    """People who are programs: they chat and rate through the API, or judge a version by their hidden preference."""
    from chat.personas import find_persona

    who = find_persona(persona)
    if (ratings is None) == (judge is None):
        raise Problem("Give either --ratings N or --judge VERSION.", status=2)
    if judge is None:
        from chat.raters import simulate as rate

        address = url or f"http://{settings.chat.host}:{settings.chat.port}"
        assert ratings is not None
        done = rate(address, who, ratings, noise=noise, seed=seed, progress=lambda n: progress("ratings", n, ratings))
        return Outcome(asdict(done), f"{done.ratings} ratings by {done.persona}: {done.by_kind}")
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


def main() -> None:
    """Run the command line; every failure ends as one or two sentences and an exit status."""
    if "--debug" not in sys.argv:
        warnings.filterwarnings("ignore", category=FutureWarning)  # libraries talking to each other, not to the user
    try:
        cli(standalone_mode=False)
    except Problem as problem:
        _fail(str(problem), problem.hint, problem.status)
    except click.UsageError as error:
        _fail(error.format_message(), f"`{error.ctx.command_path if error.ctx else 'ratchet'} --help` says more.", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", "", 130)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}", "Run it again with --debug for the traceback.", 1)


def _fail(message: str, hint: str, status: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    if "--json" in sys.argv:
        show(Outcome({"error": message, "hint": hint}, ""), as_json=True)
    print(f"Error: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
