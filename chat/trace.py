"""Each call's id, its line in the log and its count; and the answer to what nobody foresaw."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat import logs
from chat.errors import explain
from chat.metrics import Metrics
from chat.routes import template

log = logging.getLogger(__name__)

HEADER = "x-request-id"
SOUND = re.compile(r"[A-Za-z0-9._-]{1,128}")
METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
OFTEN = {"page", "/healthz", "/readyz", "/metrics"}  # what is called again and again is logged at DEBUG


class Trace:
    """ASGI middleware around everything: names each call, counts it, logs it, and answers what nobody foresaw."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on; see the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        asked = given if SOUND.fullmatch(given) else secrets.token_hex(12)
        token = logs.request_id.set(asked)
        application, started, status = scope["app"], time.perf_counter(), 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = asked
            await send(message)

        try:
            await self.app(scope, receive, send_named)
        except Exception as error:
            failure, body, headers = explain(error)
            if status:  # half an answer is out: only cutting it off can say so
                raise
            await JSONResponse(body, failure, headers)(scope, receive, send_named)
        finally:
            route = template(application, scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, route, str(status)).inc()
            level = logging.WARNING if status >= 500 else logging.DEBUG if route in OFTEN else logging.INFO
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            logs.tell(log, "request", level=level, method=method, route=route, status=status, milliseconds=milliseconds)
            logs.request_id.reset(token)
