"""API keys: made, found by what a caller sends, revoked. The store holds no secret, only hashes of secrets.

A key is 256 random bits, so its SHA-256 is as hard to turn back as the key is to guess: a slow hash with a salt
protects words that people choose, and would here only make every request slow. A key is found by its hash, through an
index; no secret is compared character by character, so there is no time to measure.

From a key follows its page token (an HMAC), which a browser keeps in its place: whoever reads the token does not have
the key, the token opens the page alone, and it ends with the key. It cannot be made from the key's hash, so a copy of
the store opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Literal, get_args

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import UnknownId, check_choice, check_short, find, known
from store.imported import is_imported
from store.schema import Key, Person, now

Scope = Literal["chat", "rate", "operate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
MARK = "rk-"
SHAPE = re.compile(MARK + r"[A-Za-z0-9_-]{43}")  # 32 bytes as RFC 4648's URL-safe Base64, without padding
SHOWN = 9  # characters of a key that are kept to recognise it by: the mark and 36 of the 256 bits
NOTED = timedelta(hours=1)  # a use is written down at most this often, so that reading stays reading


def digest_of(secret: str) -> str:
    """What the store keeps of a key or a page token: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def add_key(
    session: Session, name: str, scopes: Iterable[str] = ("chat", "rate"), person_id: str | None = None
) -> tuple[Key, str]:
    """Make a key. Returns its row and the secret, which nobody can be shown again.

    Args:
        name: what the operator calls it.
        scopes: what it is good for: `chat`, `rate`, or `operate`, which is everything.
        person_id: whom it speaks for; None: whoever its holder names.

    Raises:
        Problem: no scope, an unknown one, a name that is empty or too long, an unknown or an erased person.
    """
    check_short(name, "The key's name")
    asked = set(scopes)
    for each in sorted(asked):
        check_choice(each, SCOPES, "scope")
    if not asked:
        raise Problem("A key without a scope opens nothing.", hint=f"Give it one of: {', '.join(SCOPES)}.")
    if person_id is not None and known(session, Person, person_id, "person").erased is not None:
        raise Problem(f"{person_id} was erased.", hint="Whoever comes back is somebody new.")
    if person_id is not None and is_imported(person_id):
        raise Problem(f"{person_id} is whom an import names; nobody can speak for them.", hint="Name somebody else.")
    secret = MARK + secrets.token_urlsafe(32)
    key = Key(
        digest=digest_of(secret),
        page_digest=digest_of(page_token(secret)),
        prefix=secret[:SHOWN],
        name=name,
        scopes=[each for each in SCOPES if each in asked],
        person_id=person_id,
    )
    session.add(key)
    session.flush()
    return key, secret


def page_token(secret: str) -> str:
    """What a browser keeps in place of this key: 64 hexadecimal digits (HMAC-SHA256, RFC 2104)."""
    return hmac.new(secret.encode(), b"ratchet page", hashlib.sha256).hexdigest()


def find_key(session: Session, secret: str) -> Key | None:
    """The key with this secret; None if there is none, or if it is revoked."""
    if not SHAPE.fullmatch(secret):
        return None
    return session.scalar(select(Key).where(Key.digest == digest_of(secret), Key.revoked.is_(None)))


def find_page_key(session: Session, token: str) -> Key | None:
    """The key that this page token was made of; None if there is none, or if it is revoked."""
    return session.scalar(select(Key).where(Key.page_digest == digest_of(token), Key.revoked.is_(None)))


def list_keys(session: Session) -> list[Key]:
    """Every key, revoked ones too, in the order in which they were made."""
    return list(session.scalars(select(Key).order_by(Key.created, Key.id)))


def keys_of(session: Session, person_id: str) -> list[Key]:
    """The keys that speak for this person, revoked ones too, in the order in which they were made."""
    return list(session.scalars(select(Key).where(Key.person_id == person_id).order_by(Key.created, Key.id)))


def revoke_key(session: Session, key_id: str) -> Key:
    """End a key; one that was revoked before keeps that time. Raises `UnknownId` when there is no such key."""
    key = find(session, Key, key_id)
    if key is None:
        raise UnknownId(f"There is no key {key_id}.", hint="List them with `ratchet key list`.")
    key.revoked = key.revoked or now()
    return key


def revoke_keys_of(session: Session, person_id: str) -> None:
    """End the keys of a person who is erased, and forget what they were called."""
    session.execute(
        update(Key).where(Key.person_id == person_id).values(name="", revoked=func.coalesce(Key.revoked, now()))
    )


def use_is_due(key: Key) -> bool:
    """Whether it is time to write down that this key is in use."""
    return key.last_used is None or now() - key.last_used >= NOTED


def note_use(session: Session, key_id: str) -> None:
    """Write down that a key is in use, unless somebody did within the hour."""
    at = now()
    stale = or_(Key.last_used.is_(None), Key.last_used <= at - NOTED)
    session.execute(update(Key).where(Key.id == key_id, stale).values(last_used=at))
