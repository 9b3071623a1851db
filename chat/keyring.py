"""Keys as the server meets them: read from a header, looked up, and what they allow.

Code: `chat/access.py` refuses, `chat/entrance.py` lets browsers in, `store/keys.py` keeps the keys.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from problems import Problem
from store.database import Store
from store.group import Group
from store.keys import Scope, digest_of, find_key, find_page_key, note_use, use_is_due
from store.schema import Key

log = logging.getLogger(__name__)

REMEMBERED = 1.0  # seconds for which a look-up holds; so long may a key live on that was revoked
# RFC 9110, 11.4: a scheme in any case, spaces, credentials. RFC 6750 names the scheme.
BEARER = re.compile(r"bearer +(\S(?:.*\S)?)", re.IGNORECASE | re.DOTALL)


class WrongKey(Problem):
    """No key where one is needed, or one that is unknown or revoked."""


class NotAllowed(Problem):
    """A key that is good, but not for this. `code` names the reason to programs."""

    def __init__(self, message: str, code: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


@dataclass(frozen=True)
class Grant:
    """What a key allows: its id, its scopes, and whom it speaks for (None: whoever its holder names)."""

    key: str
    scopes: frozenset[str]
    person: str | None

    def allows(self, scope: Scope) -> bool:
        """Whether the key is good for this; `operate` is good for everything."""
        return scope in self.scopes or "operate" in self.scopes


def bearer(header: str | None) -> str | None:
    """The credentials of an `Authorization: Bearer` header; None without one, for another scheme, or an empty one."""
    match = BEARER.fullmatch((header or "").strip())
    return match[1] if match else None


def grant_of(request: HTTPConnection) -> Grant | None:
    """What the caller's key allows; None for a caller without a key, where none is needed."""
    found: Grant | None = request.state.grant  # always set, by chat.access.Access
    return found


def check_scope(request: HTTPConnection, scope: Scope) -> None:
    """Raise `NotAllowed` when the caller has a key that is not good for this."""
    grant = grant_of(request)
    if grant is not None and not grant.allows(scope):
        raise NotAllowed(
            f"this key lacks the scope {scope}",
            "missing_scope",
            hint=f"use a key that has it: ratchet key add NAME --scope {scope}",
        )


class Keyring:
    """Looks keys up in the store, at most once a second each; writes down their use, at most once an hour each."""

    def __init__(self, store: Store, group: Group) -> None:
        self._store, self._group = store, group
        self._known: dict[tuple[str, str], tuple[float, Grant]] = {}  # of good keys alone: nobody can fill it

    async def of_key(self, secret: str) -> Grant | None:
        """What the key with this secret allows; None when it is unknown or revoked."""
        return await self._look_up("key", secret, find_key)

    async def of_page(self, token: str) -> Grant | None:
        """What the key behind this page token allows; None when it is unknown or revoked."""
        return await self._look_up("page", token, find_page_key)

    async def _look_up(self, kind: str, secret: str, find: Callable[[Session, str], Key | None]) -> Grant | None:
        kept = kind, digest_of(secret)
        until, grant = self._known.get(kept, (0.0, None))
        if grant is not None and time.monotonic() < until:
            return grant
        until = time.monotonic() + REMEMBERED  # from before the look-up: what is read may be old when it comes
        key = await asyncio.to_thread(self._read, secret, find)
        if key is None:
            self._known.pop(kept, None)
            return None
        grant = Grant(key.id, frozenset(key.scopes), key.person_id)
        self._known[kept] = until, grant
        if use_is_due(key):
            self._group.submit(functools.partial(note_use, key_id=key.id)).add_done_callback(_noted)
        return grant

    def _read(self, secret: str, find: Callable[[Session, str], Key | None]) -> Key | None:
        with self._store.session(reading=True) as session:
            return find(session, secret)


def _noted(write: Future[None]) -> None:
    """Nobody waits for this write, so that a failure is told here."""
    if (error := write.exception()) is not None:
        log.warning("the use of a key was not written down: %s", error)
