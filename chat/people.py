"""Who is asking: whom their key speaks for, else a cookie in the browser, a name or id in the API."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from chat.keyring import NotAllowed, WrongKey, check_scope, grant_of
from store.conversations import person, person_called
from store.keys import Scope
from store.schema import Person

COOKIE = "ratchet_person"
HEADER = "X-Ratchet-Person"
ANONYMOUS = "api"  # everybody who calls the API and does not say who they are


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
        found = person(session, of_cookie(found.id))
    return found


def of_call(session: Session, request: HTTPConnection, user: str | None) -> Person:
    """The person behind an API call: the `user` field or the header (an id or a name), else the cookie, else `api`.

    Where the caller's key speaks for somebody it is they, unless it may `operate` and names another.

    Raises:
        NotAllowed: the call names somebody else than the key speaks for.
        WrongKey: whom the key speaks for was erased.
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
    if named:
        return person_called(session, named)
    value = request.cookies.get(COOKIE)
    return _at_browser(session, value) if value else person(session, None, ANONYMOUS)


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
    return user or request.headers.get(HEADER) or request.cookies.get(COOKIE) or ANONYMOUS
