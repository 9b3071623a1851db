"""The door: which requests are let in, how large they may be, and the headers that go out with every answer.

A request must call the server by one of its names, whatever it asks for (`chat/hosts.py`). Browsers send cookies along
with requests that other sites start, and the page's own queue would take them; so anything that writes must come from
this site's own pages or carry no Origin at all, as programs do.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat.errors import error_body
from chat.hosts import Hosts
from chat.settings import ChatSettings

READING = {"GET", "HEAD", "OPTIONS"}

# Nothing is fetched from elsewhere, not even an image that an answer names: that would tell others what is read here.
# What Gradio forces on it, and no more: its page begins with scripts written into it ('unsafe-inline'), and gr.HTML
# fills its template in by `new Function` ('unsafe-eval'); components and formulas set styles ('unsafe-inline' of
# styles), and icons and fonts are written into the style sheet (data:).
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole application, the mounted page included."""

    def __init__(self, app: ASGIApp, settings: ChatSettings) -> None:
        self.app, self.settings, self.hosts = app, settings, Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse wrong names (400, 421), foreign writers (403) and large bodies (413); add the headers."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out[name] = value
            await send(message)

        if (refusal := self._misnamed(headers)) is not None:
            await refusal(scope, receive, send_dressed)
            return
        if (scope["type"] == "websocket" or scope["method"] not in READING) and not self._same_site(headers):
            message = (
                f"requests from {headers['origin']} may not change anything here; "
                "add it to allowed_origins of the chat's settings to let it"
            )
            body = error_body(message, type="permission_error", code="foreign_origin")
            await JSONResponse(body, 403)(scope, receive, send_dressed)
            return
        await self._limited(scope, headers, receive, send_dressed)

    async def _limited(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        limit = self.settings.max_body
        refusal = f"a request may hold at most {limit} bytes"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            body = error_body(refusal, type="invalid_request_error", code="too_large")
            await JSONResponse(body, 413)(scope, receive, send)
            return
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise HTTPException(413, refusal)
            return message

        await self.app(scope, receive_counted, send)

    def _same_site(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self.settings.allowed_origins:
            return True
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()  # a name of ours: seen to before

    def _misnamed(self, headers: Headers) -> JSONResponse | None:
        """The refusal of a request that calls the server by a name that is not its own, or by none or several."""
        called = headers.getlist("host")
        if len(called) == 1 and self.hosts.known(called[0]):
            return None
        if len(called) != 1 or not called[0]:
            body = error_body("a request must say which host it wants, once", type="invalid_request_error")
            return JSONResponse(body, 400)
        message = (
            f"this chat does not answer to the name {called[0]}; whoever runs it can add a name to allowed_hosts of "
            "the chat's settings"
        )
        return JSONResponse(error_body(message, type="invalid_request_error", code="unknown_host"), 421)
