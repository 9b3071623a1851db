"""Who is asking: whom their key speaks for, else a cookie in the browser, or a name in the API.

What a caller says of themselves is a name, never an id, and a name within the space of their key: what the holder of a
key calls `ann` is stored as `key:ID/ann`, another person than the `ann` of another key or of callers without one. Only
who may `operate` reaches others, by id or by the whole name.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata

from sqlalchemy import exists, select
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from chat.keyring import Grant, NotAllowed, WrongKey, check_scope, grant_of
from problems import Problem
from store.conversations import person, person_called
from store.imported import PERSON, RATER
from store.keys import Scope
from store.schema import Key, Person

COOKIE = "ratchet_person"
HEADER = "X-Ratchet-Person"
ANONYMOUS = "api"  # everybody who calls the API without a key and does not say who they are
SPACE = "key:"  # how the names begin that holders of keys gave
LONGEST = 150  # characters of a name that a caller may give; the store takes 200, with the space before it
# What the house gives out by itself: ids of people are 16 hexadecimal digits, those of browsers 24.
RESERVED = re.compile(
    rf"{re.escape(ANONYMOUS)}|{re.escape(PERSON)}|(?:{re.escape(RATER)}|{re.escape(SPACE)}).*|[0-9a-f]{{16}}|[0-9a-f]{{24}}",
    re.DOTALL,
)


def new_cookie() -> str:
    """A cookie's value: 128 random bits."""
    return secrets.token_hex(16)


def of_cookie(value: str) -> str:
    """The id of the person who holds a cookie: a hash, so that the store holds nothing to log in with."""
    return hashlib.sha256(value.encode()).hexdigest()[:24]


def of_page(session: Session, request: HTTPConnection, doing: Scope = "chat") -> Person:
    """The person at a browser: whom their key speaks for, else the cookie's; without one a new person each time.

    Raises:
        NotAllowed: they entered with a key that is not good for what they are doing.
        WrongKey: whom it speaks for was erased.
    """
    check_scope(request, doing)
    grant = grant_of(request)
    if grant is not None and grant.person is not None:
        return _behind(session, grant.person)
    value = request.cookies.get(COOKIE)
    return _at_browser(session, value) if value else person(session, None)


def _at_browser(session: Session, value: str) -> Person:
    """The holder of a cookie; after they were erased, somebody new."""
    found = person(session, of_cookie(value))
    while found.erased is not None:
        # From the cookie, which is a secret, not from the id, which is none: whoever knew that could come back as them.
        value = f"{value} again"
        found = person(session, of_cookie(value))
    return found


def of_call(session: Session, request: HTTPConnection, user: str | None) -> Person:
    """The person behind an API call: whom the `user` field or the header names, else the cookie's.

    Where the caller's key speaks for somebody it is they, unless it may `operate` and names another. Whoever names
    nobody and has no cookie is the holder of their key, or `api`.

    Raises:
        NotAllowed: the call names somebody else than the key speaks for, or, without a key, somebody who has one.
        WrongKey: whom the key speaks for was erased.
        Problem: the name is one of those that callers may not give themselves.
    """
    named = user or request.headers.get(HEADER)
    grant = grant_of(request)
    if grant is not None and grant.person is not None and not (named and grant.allows("operate")):
        bound = _behind(session, grant.person)
        if named and named not in (bound.id, bound.name):
            raise NotAllowed(
                "this key speaks for somebody else than the call names",
                "other_person",
                hint=f"leave `user` and {HEADER} out, or use a key of theirs",
            )
        return bound
    if named and grant is not None and grant.allows("operate"):
        return person_called(session, named)
    value = request.cookies.get(COOKIE)
    if value and not named:
        return _at_browser(session, value)
    found = person(session, None, _name(grant, named))
    if grant is None and session.scalar(select(exists().where(Key.person_id == found.id))):
        # Revoked keys count too: to end a stolen key must not open what it opened to everybody.
        raise NotAllowed(
            "whom the call names has a key", "other_person", hint="send it, or call yourself by another name"
        )
    return found


def _name(grant: Grant | None, named: str | None) -> str:
    """The name in the store of whom a caller calls `named`; of whoever names nobody, that of the key's holder."""
    space = "" if grant is None else f"{SPACE}{grant.key}"
    if not named:
        return space or ANONYMOUS
    if len(named) > LONGEST:
        raise Problem(f"a name must be text of 1 to {LONGEST} characters", hint="send a shorter one")
    if RESERVED.fullmatch(unicodedata.normalize("NFKC", named).strip().casefold()):
        raise Problem(
            "that is a name that callers may not give themselves",
            hint="put a word before it: ids, and the names that this server gives out, are reserved",
        )
    return f"{space}/{named}" if space else named


def _behind(session: Session, person_id: str) -> Person:
    found = session.get_one(Person, person_id)
    if found.erased is not None:  # a moment ago: their keys were revoked with them
        raise WrongKey("whom this key speaks for was erased", hint="ask the operator for another key")
    return found


def named_in(request: HTTPConnection, user: str | None) -> str:
    """Whom a call says that it is from, before the store is asked: by key, field, header or cookie, else `api`."""
    grant = grant_of(request)
    if grant is not None and grant.person is not None and not grant.allows("operate"):
        return grant.person
    named, value = user or request.headers.get(HEADER), request.cookies.get(COOKIE)
    if named and grant is not None and grant.allows("operate"):
        return named
    return of_cookie(value) if value and not named else _name(grant, named)
