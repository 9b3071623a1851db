"""Who is asking: a cookie in the browser, a name or id in the API."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from store.conversations import person, person_called
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


def of_page(session: Session, request: HTTPConnection) -> Person:
    """The person at a browser; without a cookie (they refuse it) a new one each time."""
    value = request.cookies.get(COOKIE)
    return _at_browser(session, value) if value else person(session, None)


def _at_browser(session: Session, value: str) -> Person:
    """The holder of a cookie; after they were erased, somebody new."""
    found = person(session, of_cookie(value))
    while found.erased is not None:
        found = person(session, of_cookie(found.id))
    return found


def of_call(session: Session, request: HTTPConnection, user: str | None) -> Person:
    """The person behind an API call: the `user` field or the header (an id or a name), else the cookie, else `api`."""
    named = user or request.headers.get(HEADER)
    if named:
        return person_called(session, named)
    value = request.cookies.get(COOKIE)
    return _at_browser(session, value) if value else person(session, None, ANONYMOUS)


def named_in(request: HTTPConnection, user: str | None) -> str:
    """Whom a call says that it is from, before the store is asked: by field, header or cookie, else `api`."""
    return user or request.headers.get(HEADER) or request.cookies.get(COOKIE) or ANONYMOUS
