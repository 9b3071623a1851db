"""The application: page, API and health in one FastAPI app, with the backend and the watcher for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.middleware.cors import CORSMiddleware

from chat import errors, metrics
from chat.access import Access, scope
from chat.completions import completions_router
from chat.doors import Doors
from chat.entrance import entrance_router
from chat.feedback import feedback_router
from chat.guard import Guard
from chat.keyring import Keyring
from chat.pace import Pace
from chat.people import HEADER
from chat.person_cookie import PersonCookie
from chat.reference import describe, reference_page
from chat.routes import refuse_the_rest
from chat.service import Service
from chat.settings import ChatSettings
from chat.shapes import Health, Readiness
from chat.trace import HEADER as REQUEST_ID
from chat.trace import Trace
from chat.watcher import Watcher
from lm.backend import Backend
from lm.settings import Sampling
from store.database import Store
from store.group import Group
from store.versions import ensure_base


def build_app(store: Store, backend: Backend, settings: ChatSettings, sampling: Sampling) -> FastAPI:
    """Put the chat together; nothing runs before the application is started.

    Args:
        store: an open store; its version 0 is made if the store is new.
        backend: who makes the answers; the application starts it, if it is not started, and closes it.
        sampling: what a request leaves unsaid.

    Raises:
        Problem: the store was made with another base.
    """
    with store.session() as session:
        ensure_base(session, backend.base.id, backend.base.fingerprint)
    watcher = Watcher(
        store,
        backend,
        poll_seconds=settings.poll_seconds,
        retry_seconds=settings.retry_seconds,
        keep=settings.loaded_versions,
    )
    group = Group(store)
    keyring = Keyring(store, group)
    pace, doors = Pace(settings.ratings_per_minute), Doors(settings)
    service = Service(store, backend.base, watcher, sampling, backend.context, pace, doors)

    service.metrics.watch(backend.figures, watcher, backend.base.id)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(backend.start)
        try:
            await watcher.start()
            yield
        finally:
            await watcher.stop()
            await service.drain()
            await asyncio.to_thread(group.close)
            await asyncio.to_thread(backend.close)

    app = FastAPI(title=settings.title, version=_version(), lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service
    errors.install(app)
    app.add_middleware(Access, keyring=keyring, settings=settings)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.allowed_origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", HEADER, REQUEST_ID],
        expose_headers=[REQUEST_ID, "Retry-After"],
    )
    app.add_middleware(PersonCookie, store=store)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Trace, metrics=service.metrics)
    if settings.require_key:
        app.include_router(entrance_router(keyring, settings.title, doors))
    app.include_router(
        completions_router(service, Pace(settings.requests_per_minute, "requests"), settings.max_messages)
    )
    app.include_router(feedback_router(store, group, service))

    @app.get("/healthz", tags=["health"], summary="Alive, and the version that serves", response_model=Health)
    async def healthz() -> dict[str, Any]:
        refused = [{"version": number, "why": why} for number, why in sorted(watcher.refused.items())]
        return {"ok": True, "version": watcher.serving.id, "model": watcher.serving.model, "refused": refused}

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Ready to answer",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Not yet"}},
    )
    async def readyz(response: Response) -> dict[str, Any]:
        ready = watcher.running and await asyncio.to_thread(backend.ready)
        response.status_code = 200 if ready else 503
        return {"ready": ready, "version": watcher.serving.id}

    @app.get(
        "/metrics",
        tags=["health"],
        summary="Figures for Prometheus",
        dependencies=[Depends(scope("operate"))],
        response_class=Response,
        responses={200: {"content": {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def scrape() -> Response:
        text = await asyncio.to_thread(service.metrics.text)
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi()))

    description = describe(app)
    app.openapi = lambda: description  # type: ignore[method-assign]  # FastAPI's way to a description of one's own
    refuse_the_rest(app)

    from chat.page import mount_page  # Gradio takes seconds to import: after the store has been found in order

    mount_page(app, service, settings)
    return app


def _version() -> str:
    try:
        return version("ratchet")
    except PackageNotFoundError:  # run from a checkout
        return "0"
