"""What every command shares: the groups, the options that all take, and how a store and a base are opened."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console import Outcome, Progress, show
from settings import Settings, load_settings

if TYPE_CHECKING:
    from lm.loading import Base
    from store.database import Store
    from store.frozen import Frozen

FLAGS = ("home", "model", "host", "port", "open_to_all")  # options that are settings, by the name of their parameter
SECTION = {"host": "chat.host", "port": "chat.port", "open_to_all": "chat.open_to_all"}
model_option = click.option("--model", help="The base: 'starter', a folder, or an id of the hub.")


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


@cli.group("rating")
def rating() -> None:
    """A single rating: see it, drop it."""


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

    from lm.serviceable import load_serviceable
    from store.versions import ensure_base

    logging.disable_progress_bar()
    base = load_serviceable(
        settings.model, settings.device, settings.dtype, warn=lambda message: click.echo(message, err=True)
    )
    with store.session() as session:
        ensure_base(session, base.id, base.fingerprint)
    return base


def frozen_ratings(settings: Settings, store: Store, base: Base) -> tuple[Frozen, list[dict[str, Any]]]:
    """The present opinions, split as every update splits them, and what of them the reward model cannot read.

    The second is `reward.readable.summary`; Problem where it is more than `update.max_left_out` allows.
    """
    from reward.readable import as_asked, check_share, reward_reader, summary, unreadable, without
    from reward.settings import dataset_knobs
    from store.datasets import freeze
    from store.single_rating import ratings_about

    with store.session(reading=True) as session:
        frozen = freeze(session, seed=settings.reward.seed, **dataset_knobs(settings.reward))
    left_out = unreadable(base, frozen, [reward_reader(base, settings.reward.context)])
    check_share(frozen, left_out, settings.update.max_left_out)
    with store.session(reading=True) as session:
        told = summary(left_out, ratings_about(session, as_asked(left_out)))
    return without(frozen, ((each.kind, each.row) for each in left_out)), told
