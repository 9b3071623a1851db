"""By which door somebody comes in, a key or a network address, and how much may come through it in a minute.

A name or a cookie can be invented, a thousand a second; a key is given out, and an address costs something. So what one
may ask and rate is counted by door too. Somebody at this machine itself has none: there one person runs everything, or
a proxy stands before the server. Then `trusted_proxies` says whose `X-Forwarded-For` is believed.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from chat import people
from chat.arrivals import Arrivals
from chat.keyring import grant_of
from chat.pace import Pace
from chat.settings import ChatSettings
from store.keys import Scope
from store.schema import Person

log = logging.getLogger(__name__)

PREFIX = 64  # bits of an IPv6 address that are one customer's network (RFC 6177)


class Doors:
    """Who came by which door, and what is allowed to come by it."""

    def __init__(self, settings: ChatSettings) -> None:
        self._warned = False
        self._trusted = [ip_network(each, strict=False) for each in settings.trusted_proxies]
        self._answers = Pace(settings.door_answers_per_minute, "requests", "one key or address")
        self._arrivals = Arrivals(settings.new_people_per_hour)
        self._ratings = Pace(settings.door_ratings_per_minute, "ratings", "one key or address")

    def of(self, request: HTTPConnection) -> str:
        """The door of a request; empty for this machine itself."""
        grant = grant_of(request)
        if grant is not None:
            return f"key {grant.key}"
        address = self._address(request)
        if address is None or address.is_loopback:
            return ""
        if isinstance(address, IPv6Address):
            return str(ip_network((address, PREFIX), strict=False))
        return str(address)

    def asks(self, request: HTTPConnection, answers: int = 1) -> str:
        """Count so many answers that are asked for; gives the door.

        Raises TooFast where they are too many, unless they come with a key that may operate.
        """
        return self._step(self._answers, request, answers)

    def rates(self, request: HTTPConnection) -> str:
        """Count a rating; gives the door. Raises TooFast as `asks` does."""
        return self._step(self._ratings, request, 1)

    def of_call(self, session: Session, request: HTTPConnection, user: str | None) -> Person:
        """As `people.of_call`. Raises TooManyPeople where they are new and one too many."""
        with self._few_new(session, request):
            return people.of_call(session, request, user)

    def of_page(self, session: Session, request: HTTPConnection, doing: Scope = "chat") -> Person:
        """As `people.of_page`. Raises TooManyPeople where they are new and one too many."""
        with self._few_new(session, request):
            return people.of_page(session, request, doing)

    def _few_new(self, session: Session, request: HTTPConnection) -> AbstractContextManager[None]:
        grant, door = grant_of(request), self.of(request)
        if not door or (grant is not None and grant.allows("operate")):  # who imports and simulates brings in anybody
            return nullcontext()
        return self._arrivals.by(door, session)

    def _step(self, pace: Pace, request: HTTPConnection, count: int) -> str:
        door, grant = self.of(request), grant_of(request)
        if door and not (grant is not None and grant.allows("operate")):
            pace.step(door, count)
        return door

    def _address(self, request: HTTPConnection) -> IPv4Address | IPv6Address | None:
        """The nearest address that is not a trusted proxy's; None where there is none, as over a Unix socket."""
        told = ",".join(request.headers.getlist("x-forwarded-for"))  # a proxy may add a line of its own
        if told and not self._trusted and not self._warned:
            self._warned = True
            log.warning(
                "requests come by a proxy, and chat.trusted_proxies names none: all who come by it are one door, and "
                "those who come by one on this machine are not limited"
            )
        hops = [hop.strip() for hop in told.split(",")] if self._trusted else []
        found = None
        for hop in [request.client.host if request.client else "", *reversed(hops)]:
            try:
                found = _plain(ip_address(hop))
            except ValueError:  # a proxy that hides its client, or a name in the place of an address
                return found
            if not any(found in network for network in self._trusted):
                return found
        return found


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that came by an IPv6 socket as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
