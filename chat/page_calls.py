"""What of Gradio's own web application is open: what this page asks for, and nothing else.

Gradio answers on many routes more: uploads, requests to elsewhere, chats written to files (`deep_link`), a queue whose
streams are read by whoever knows a session's name. What is not listed here is not there, so that a route which a newer
Gradio adds is closed too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from typing import Any

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat.errors import error_body
from chat.people import COOKIE

log = logging.getLogger(__name__)

# The page and what it is made of; the browser's script calls `EVENT` and holds `HEARTBEAT` for as long as it is open.
FILES = {"/", "/config", "/theme.css", "/favicon.ico", "/robots.txt"}
FOLDERS = ("/assets/", "/static/")
EVENT = "/gradio_api/run/predict"
HEARTBEAT = "/gradio_api/heartbeat/"
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")  # a tab's name for itself
# From these Gradio would take what the page's own address is, and write it into the page.
BELIEVED = ("x-forwarded-host", "x-gradio-server")


class PageCalls:
    """ASGI application around Gradio's, mounted in its place.

    A tab names its session itself. Gradio is told a name that follows from that one and from whoever is at the browser,
    by their key or cookie: so the name of another's session names another session.
    """

    def __init__(self, app: ASGIApp, inputs: dict[int, int]) -> None:
        """Args: the number of values that each event of the page takes, by the number of the event."""
        self.app, self.inputs = app, inputs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what the page asks for; 404 for what it does not, 400 for an event that it could not have sent."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # the page has none
            return
        path, method = scope["path"], scope["method"]
        headers = MutableHeaders(scope=scope)
        for name in BELIEVED:
            del headers[name]
        if method in ("GET", "HEAD") and (path in FILES or path.startswith(FOLDERS)):
            await self.app(scope, receive, send)
        elif method == "GET" and path.startswith(HEARTBEAT) and SESSION.fullmatch(path.removeprefix(HEARTBEAT)):
            held = f"{HEARTBEAT}{_session(scope, path.removeprefix(HEARTBEAT))}"
            await self.app({**scope, "path": held, "raw_path": held.encode()}, receive, send)
        elif method == "POST" and path == EVENT:
            await self._event(scope, receive, send)
        else:
            await JSONResponse(error_body("there is nothing here", type="not_found_error"), 404)(scope, receive, send)

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await _body(receive)
        if raw is None:
            return
        event = self._read(raw)
        if event is None:
            body = error_body("this is no event of the page", type="invalid_request_error")
            await JSONResponse(body, 400)(scope, receive, send)
            return
        event["session_hash"] = _session(scope, event["session_hash"])
        content = json.dumps(event).encode()
        headers = MutableHeaders(scope=scope)
        headers["content-type"], headers["content-length"] = "application/json", str(len(content))
        del headers["transfer-encoding"]
        unread = True

        async def once() -> Message:
            nonlocal unread
            if not unread:
                return await receive()  # that the browser went away
            unread = False
            return {"type": "http.request", "body": content, "more_body": False}

        await self.app(scope, once, send)

    def _read(self, raw: bytes) -> dict[str, Any] | None:
        """The event in a request's body, without what the page does not send; None if there is none."""
        try:
            sent = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        if not isinstance(sent, dict):
            return None
        number, session, data = sent.get("fn_index"), sent.get("session_hash"), sent.get("data")
        if type(number) is not int or type(session) is not str or not SESSION.fullmatch(session):
            return None
        if not isinstance(data, list) or len(data) != self.inputs.get(number):
            return None
        trigger = sent.get("trigger_id")
        if type(trigger) not in (int, type(None)):
            return None
        return {
            "fn_index": number,
            "session_hash": session,
            "data": data,
            "trigger_id": trigger,
            "event_data": sent.get("event_data"),
        }


class Page(gr.Blocks):
    """Blocks whose failures go into the log as everybody's do: without the words that an event was about."""

    async def process_api(self, *args: Any, **named: Any) -> dict[str, Any]:
        """As Gradio's, which prints what it could not read."""
        try:
            return await super().process_api(*args, **named)
        except Exception as error:
            log.error("an event of the page failed", exc_info=error)
            raise gr.Error("something failed, and the server's log says what", print_exception=False) from None

    def inputs_by_event(self) -> dict[int, int]:
        """How many values each event takes that the server has a part in."""
        return {number: len(event.inputs) for number, event in self.fns.items() if event.fn is not None}


def _session(scope: Scope, name: str) -> str:
    grant = scope["state"]["grant"]
    who = None if grant is None else grant.person
    if who is None:
        who = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
    return hashlib.sha256(f"{who}\n{name}".encode()).hexdigest()[:32]


async def _body(receive: Receive) -> bytes | None:
    """All of a request's body; None if its sender left."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)
