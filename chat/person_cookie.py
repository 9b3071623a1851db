"""The cookie by which a browser's person is known: given out at the page, and believed only if it was.

Somebody who invents one is nobody by it. A cookie is a random number
and its HMAC under the home's secret. Older ones are the number alone: they stay good for people whom the store knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat.people import COOKIE, new_cookie, of_cookie
from store.database import Store
from store.schema import Person
from store.secret import secret_of

YEAR = 365 * 24 * 3600
REMEMBERED = 10_000  # unsigned cookies that the store was asked for and knows


class PersonCookie:
    """ASGI middleware inside of `Guard`: takes away cookies that nobody gave out, and gives one with the page."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app, self._store, self._secret = app, store, secret_of(store.home)
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a cookie that is good or none."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        sent = "; ".join(Headers(scope=scope).getlist("cookie"))
        value = cookie_parser(sent).get(COOKIE)
        good = bool(value) and await self.is_ours(str(value))
        if value is not None and not good:
            others = (each.strip() for each in sent.split(";"))
            MutableHeaders(scope=scope)["cookie"] = "; ".join(
                each for each in others if each.partition("=")[0].strip() != COOKIE
            )
        if good or (scope.get("method"), scope["path"]) != ("GET", "/"):
            await self.app(scope, receive, send)
            return
        secure = "; Secure" if scope["scheme"] == "https" else ""
        given = f"{COOKIE}={self.new()}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax{secure}"

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", given)
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def new(self) -> str:
        """A cookie's value for somebody new."""
        number = new_cookie()
        return f"{number}.{self._signed(number)}"

    async def is_ours(self, value: str) -> bool:
        """Whether a cookie was given out by a server of this home, or is of somebody whom the store knows."""
        number, _, signature = value.partition(".")
        if hmac.compare_digest(signature.encode(), self._signed(number).encode()):
            return True
        if value not in self._known:
            if not await asyncio.to_thread(self._is_somebodys, value):
                return False
            self._known[value] = None
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return True

    def _signed(self, number: str) -> str:
        return hmac.new(self._secret, f"person {number}".encode(), hashlib.sha256).hexdigest()[:32]

    def _is_somebodys(self, value: str) -> bool:
        with self._store.session(reading=True) as session:
            return session.get(Person, of_cookie(value)) is not None
