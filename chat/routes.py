"""The routes that a call can take: their names for counting, and what is answered beside them (404 and 405)."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

SELVES = ("/docs", "/openapi.json")


def refuse_the_rest(app: FastAPI) -> None:
    """Answer 405 to other methods of the routes so far, and 404 to what is not there under /v1.

    Without it both would fall to the page, which is mounted last and takes whatever is left.
    """
    for path, methods in app.openapi()["paths"].items():
        app.router.routes.append(Route(path, _Wrong(sorted(method.upper() for method in methods))))
    app.router.routes.append(Route("/v1/{path:path}", _Nowhere()))


def template(app: FastAPI, scope: Scope) -> str:
    """The route of a call as it is counted and logged: one of few, never a raw path."""
    known = {*app.openapi()["paths"], *SELVES}
    taken = getattr(scope.get("route"), "path", scope["path"])
    if taken in known:
        return str(taken)
    return "unknown" if scope["path"].startswith("/v1/") else "page"


class _Wrong:
    """A route's answer to every method that it does not have."""

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = ", ".join(self.allowed)
        message = f"{scope['path']} takes {names}, not {scope['method']}"
        raise HTTPException(405, message, headers={"Allow": names})


class _Nowhere:
    """The answer to a path that leads nowhere."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(404, f"there is no {scope['method']} {scope['path']}; /docs lists what there is")
