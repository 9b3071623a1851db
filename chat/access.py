"""Who may do what: every request's key is looked up here, and refused or handed on to the routes.

Where keys are required, what is not listed as open needs one, so that a route that is added later is no hole: /v1 and
/metrics a key in the `Authorization` header; everything else, which is the page, the cookie of `chat/entrance.py`.
(OWASP Authorization Cheat Sheet: deny by default, check on every request. OWASP API Security Top 10, API2, API5.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chat.entrance import COOKIE, form
from chat.errors import explain
from chat.keyring import Grant, Keyring, NotAllowed, WrongKey, bearer, check_scope
from chat.settings import ChatSettings
from store import keys

OPEN = {
    *(("GET", path) for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/enter", "/logout")),
    ("POST", "/enter"),
}
KEYED = ("/v1", "/metrics")
SCHEME = HTTPBearer(
    auto_error=False,  # refused by Access, in the API's own words
    scheme_name="key",
    bearerFormat=f"{keys.MARK}...",
    description="An API key of `ratchet key add`. Without the chat's `require_key` it may be left out.",
)


def scope(name: keys.Scope) -> Callable[..., Awaitable[None]]:
    """A dependency, for `Depends(scope("operate"))`: refuses (403) keys that lack this scope.

    That there is a key, where keys are required, is seen to by `Access` before any route is reached.
    """

    async def check(
        request: Request, key: Annotated[HTTPAuthorizationCredentials | None, Security(SCHEME)]
    ) -> None:  # `key` has the scheme listed in the OpenAPI document
        check_scope(request, name)

    return check


class Access:
    """ASGI middleware around the whole application, inside of `Guard`: sets `request.state.grant`, or refuses.

    A key that is sent is always checked, needed or not: a revoked one must not turn into nobody in particular. What
    does not begin as a key does is another program's habit (OpenAI's clients always send something), and ignored where
    no key is needed.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, settings: ChatSettings) -> None:
        self.app, self.keyring, self.settings = app, keyring, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse callers without a good key with 401; at the page, show the form that asks for one."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["grant"] = None
        if (scope.get("method"), scope["path"]) not in OPEN:
            headers = Headers(scope=scope)
            keyed = any(scope["path"] == each or scope["path"].startswith(f"{each}/") for each in KEYED)
            try:
                state["grant"] = await self._by_header(headers, needed=keyed and self.settings.require_key)
                if self.settings.require_key and not keyed:
                    state["grant"] = await self._by_cookie(headers)
            except (WrongKey, NotAllowed) as refusal:
                await self._refuse(refusal, scope)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _by_header(self, headers: Headers, needed: bool) -> Grant | None:
        sent = bearer(headers.get("authorization"))
        if sent is not None and (needed or sent.startswith(keys.MARK)):
            grant = await self.keyring.of_key(sent)
            if grant is None:
                raise WrongKey("this key is unknown or revoked", hint="ask the operator for one: ratchet key add NAME")
            return grant
        if needed:
            raise WrongKey("a key is needed here", hint="send the header Authorization: Bearer KEY")
        return None

    async def _by_cookie(self, headers: Headers) -> Grant:
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        grant = await self.keyring.of_page(token) if token else None
        if grant is None:
            raise WrongKey("the page needs a key", hint="open / in a browser and enter one")
        if not grant.allows("chat"):
            raise NotAllowed("this key lacks the scope chat", "missing_scope", hint="enter a key that has it")
        return grant

    def _refuse(self, refusal: WrongKey | NotAllowed, scope: Scope) -> Response:
        status, body, headers = explain(refusal)
        if scope["path"] == "/" and scope.get("method") == "GET":
            return form(self.settings.title, status=status, headers=headers)
        return JSONResponse(body, status, headers)
