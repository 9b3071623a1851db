"""Failures as the OpenAI API words them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chat.keyring import NotAllowed, WrongKey
from chat.pace import TooFast
from chat.service import TooLong
from chat.watcher import UnknownModel
from lm.line import Late, QueueFull, Unavailable
from problems import Problem
from store.checks import UnknownId
from store.database import StoreUnavailable

log = logging.getLogger(__name__)

RETRY_AFTER = "5"  # seconds; whoever waited past a deadline met a long queue
UNION = re.compile(r"str|list\[.*\]")  # pydantic's names for the branches of a union, in the place of an error


def error_body(message: str, *, type: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The body of a failed answer."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def explain(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """(status, body, headers) of a failure; what nobody foresaw is 500 and says nothing of the inside."""
    match error:
        case QueueFull():
            return (
                429,
                error_body(_words(error), type="rate_limit_error", code="queue_full"),
                {"Retry-After": str(error.wait)},
            )
        case Late():
            body = error_body(_words(error), type="rate_limit_error", code="timeout")
            return 429, body, {"Retry-After": RETRY_AFTER}
        case TooFast():
            body = error_body(_words(error), type="rate_limit_error", code=f"too_many_{error.what}")
            return 429, body, {"Retry-After": str(error.wait)}
        case WrongKey():
            body = error_body(_words(error), type="invalid_request_error", code="invalid_api_key")
            return 401, body, {"WWW-Authenticate": "Bearer"}
        case NotAllowed():
            return 403, error_body(_words(error), type="permission_error", code=error.code), {}
        case UnknownModel():
            return (
                404,
                error_body(_words(error), type="invalid_request_error", code="model_not_found", param="model"),
                {},
            )
        case TooLong():
            body = error_body(
                _words(error), type="invalid_request_error", code="context_length_exceeded", param="messages"
            )
            return 400, body, {}
        case UnknownId():
            return 404, error_body(_words(error), type="not_found_error"), {}
        case Unavailable():
            body = error_body(_words(error), type="server_error", code="backend_unavailable")
            return 503, body, {"Retry-After": RETRY_AFTER}
        case StoreUnavailable():
            log.error("the store cannot be used", exc_info=error)  # its words name the machine's folders
            body = error_body(error.outside, type="server_error", code="store_unavailable")
            return 503, body, {"Retry-After": RETRY_AFTER}
        case Problem():
            return 400, error_body(_words(error), type="invalid_request_error"), {}
        case HTTPException():
            kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
            return error.status_code, error_body(str(error.detail), type=kind), dict(error.headers or {})
        case RequestValidationError():
            return 400, _misread(error.errors()[0]), {}
    log.error("a request failed", exc_info=error)
    return 500, error_body("the server failed; its log says why", type="server_error"), {}


def install(app: FastAPI) -> None:
    """Have every failure of the API answered in this shape."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        status, body, headers = explain(error)
        return JSONResponse(body, status, headers)

    for kind in (Problem, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)


def _misread(first: Any) -> dict[str, Any]:
    """The body of an answer to a request that is no JSON or not of the shape asked for."""
    place = ".".join(str(part) for part in first["loc"][1:] if not UNION.fullmatch(str(part)))
    words, context = str(first["msg"]), first.get("ctx", {})
    match first["type"]:
        case "json_invalid":
            return error_body(f"the body is no JSON: {context.get('error', words)}", type="invalid_request_error")
        case "refused":
            place = str(context["field"])
        case "value_error":
            words = str(context["error"])
    message = f"{place}: {words}" if place else words
    return error_body(message, type="invalid_request_error", param=place or None)


def _words(problem: Problem) -> str:
    return f"{problem}; {problem.hint}" if problem.hint else str(problem)
