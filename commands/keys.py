"""API keys: make one, list them, revoke one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from commands.frame import cli, command, opened
from console import Outcome, Progress
from settings import Settings

if TYPE_CHECKING:
    from store.schema import Key


@cli.group("key")
def keys() -> None:
    """The keys that let programs and people in."""


@command(keys, "add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("chat", "rate"),
    show_default=True,
    type=click.Choice(["chat", "rate", "operate"]),
    help="What it is good for; may be given several times. operate is everything.",
)
@click.option("--person", help="Whom it speaks for (an id or a name, made when new) [whoever its holder names].")
def key_add(settings: Settings, progress: Progress, name: str, scopes: tuple[str, ...], person: str | None) -> Outcome:
    """Make a key called NAME and show it, this once: the store keeps no copy."""
    from store.conversations import person_called
    from store.keys import add_key

    with opened(settings) as store, store.session() as session:
        bound = None if person is None else person_called(session, person).id
        key, secret = add_key(session, name, scopes, bound)
    text = f"{secret}\nKeep it now: it is not shown again. To end it: ratchet key revoke {key.id}"
    data = {"key": secret, "id": key.id, "name": key.name, "scopes": key.scopes, "person": key.person_id}
    return Outcome(data, text)


@command(keys, "list")
def key_list(settings: Settings, progress: Progress) -> Outcome:
    """List the keys, revoked ones too: what each is good for, whom it speaks for, and when it was last used."""
    from store.keys import list_keys

    with opened(settings) as store, store.session(reading=True) as session:
        rows = [_row(key) for key in list_keys(session)]
    return Outcome({"keys": rows}, "\n".join(map(_line, rows)) or "No keys yet.")


@command(keys, "revoke")
@click.argument("key_id", metavar="ID")
def key_revoke(settings: Settings, progress: Progress, key_id: str) -> Outcome:
    """End the key ID (of `ratchet key list`), at once, in a running chat too."""
    from store.keys import revoke_key

    with opened(settings) as store, store.session() as session:
        row = _row(revoke_key(session, key_id))
    return Outcome(row, f"{row['id']} ({row['name'] or 'no name'}) ended {row['revoked'][:19]}.")


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "person": key.person_id,
        "created": key.created.isoformat(),
        "last_used": key.last_used.isoformat() if key.last_used else None,
        "revoked": key.revoked.isoformat() if key.revoked else None,
    }


def _line(row: dict[str, Any]) -> str:
    state = f"revoked {row['revoked'][:19]}" if row["revoked"] else f"used {(row['last_used'] or 'never')[:19]}"
    whom = f" for {row['person']}" if row["person"] else ""
    return f"{row['id']}  {row['prefix']}…  {','.join(row['scopes']):<17}  {state:<27}  {row['name'] or '-'}{whom}"
