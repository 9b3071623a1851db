"""What serves: the chat itself, the versions, and which of them answers."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click

from commands.frame import cli, command, loaded, model_option, opened
from console import Outcome, Progress
from settings import Settings

if TYPE_CHECKING:
    from lm.backend import Backend
    from store.database import Store
    from store.schema import Update

SEEN_AS_VERSIONS = ("promoted", "canary", "candidate")  # verdicts whose update needs no line of its own


@command(cli, "serve")
@click.option("--host", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on [7860].")
@click.option(
    "--open-to-all", is_flag=True, default=None, help="Let other machines in though nobody is asked for a key."
)
@model_option
@click.option("--open", "open_browser", is_flag=True, help="Open the page in this machine's browser.")
def serve(settings: Settings, progress: Progress, open_browser: bool) -> Outcome:
    """Serve the chat page and the API until interrupted."""
    from chat.hosts import check_reach, reach
    from chat.server import claim

    check_reach(settings.chat)
    listener = claim(settings.chat.host, settings.chat.port)  # before anything slow
    from chat import logs, server
    from chat.app import build_app

    logs.configure(settings.chat.log_format, settings.chat.log_level)

    def ready(url: str) -> None:
        place = "this process" if settings.backend.kind == "engine" else f"{settings.backend.url}"
        click.echo(f"Ratchet serves {backend.base.id} at {url} (answers from {place})")
        if far := reach(settings.chat, listener.getsockname()[1]):
            click.echo(far)
        if open_browser:
            click.launch(url)

    with listener, opened(settings) as store:
        backend = _backend(settings, store)
        backend.start()  # a server that is not there ends it here, before anybody connects
        try:
            app = build_app(store, backend, settings.chat, settings.sampling)
            server.serve(app, listener, ready=ready, failure=lambda: backend.failure)
        finally:
            backend.close()
    return Outcome({"served": True}, "Stopped.")


def _backend(settings: Settings, store: Store) -> Backend:
    """Who makes the answers by these settings; the weights are loaded only where it is this process."""
    from lm.backend import OwnEngine
    from lm.engine import Engine
    from lm.threads import apart

    if settings.backend.kind == "engine":
        return OwnEngine(apart(lambda: Engine(loaded(settings, store), settings.engine)))
    from lm.loading import load_text
    from lm.remote.server import Remote
    from lm.remote.vllm import VLLM

    base = load_text(settings.model)
    if settings.backend.kind == "vllm":
        return VLLM(base, settings.backend, store.home)
    return Remote(base, settings.backend)


@command(cli, "versions")
def versions(settings: Settings, progress: Progress) -> Outcome:
    """List the versions, which one serves, and every change of that."""
    from store.people import flagged_versions
    from store.updates import list_updates
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
        updates = [_update(each) for each in list_updates(session)]
    text = [_version_line(row, now) for row in rows] + [_change_line(change) for change in audit]
    text += [_update_line(each) for each in updates if each["verdict"] not in SEEN_AS_VERSIONS]
    return Outcome({"serving": now, "versions": rows, "updates": updates, "audit": audit}, "\n".join(text))


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


def _update(row: Update) -> dict[str, Any]:
    """An update for `--json`; its verdict is None while it is unfinished."""
    return {
        "id": row.id,
        "algorithm": row.algorithm,
        "verdict": row.verdict,
        "version": row.version_id,
        "why": (row.report or {}).get("why", ""),
        "started": row.started.isoformat(),
        "finished": row.finished.isoformat() if row.finished else None,
    }


def _update_line(row: dict[str, Any]) -> str:
    how = row["verdict"] or "unfinished; `ratchet update` goes on with it, `ratchet update --discard` ends it"
    return (
        f"update {row['id']} ({row['algorithm']}, {row['started'][:19]}): {how}{': ' if row['why'] else ''}{row['why']}"
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
    moved = ""
    if change["from"] != change["to"]:  # else it was about something else than what serves
        moved = f" {'-' if change['from'] is None else change['from']} -> {change['to']}"
    return f"{change['at'][:19]}  {change['who']}: {change['action']}{moved} ({change['reason']})"
