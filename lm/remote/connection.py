"""The line to a server elsewhere: one thread with an event loop, in it one client, and whether anybody answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Coroutine
from typing import Any

import httpx

from lm.line import Unavailable
from lm.remote.refusals import HINT, refusal
from lm.settings import BackendSettings
from problems import Problem

log = logging.getLogger(__name__)

PROBE = 2.0  # seconds that a server has to say that it is there
FRESH = 1.0  # seconds for which what a probe found is believed
KEPT = 2.0  # seconds that an idle connection is kept: fewer than the servers' own, who would close it under a request


class Connection:
    """To one server, at `settings.url`. Thread-safe."""

    def __init__(self, settings: BackendSettings) -> None:
        self.settings = settings
        self._url = settings.url.rstrip("/").removesuffix("/v1")
        self._loop = asyncio.new_event_loop()
        self._client: httpx.AsyncClient | None = None
        self._thread: threading.Thread | None = None
        self._gate = threading.Lock()  # guards whether it is closing, and what is asked of the server meanwhile
        self._closing = False
        self._probing = threading.Lock()
        self._probed, self._alive = float("-inf"), False

    def _open(self) -> bool:
        """Begin the thread; False if that was done before."""
        with self._gate:
            if self._thread is not None or self._closing:
                return False
            headers = {"Authorization": f"Bearer {self.settings.key}"} if self.settings.key else {}
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT)
            timeout = httpx.Timeout(None, connect=min(10.0, self.settings.timeout))  # silence is timed event by event
            self._client = httpx.AsyncClient(base_url=self._url, headers=headers, timeout=timeout, limits=limits)
            self._thread = threading.Thread(target=self._loop.run_forever, name="backend", daemon=True)
            self._thread.start()
        return True

    def close(self) -> None:
        """Refuse new requests, wait for those under way, then let go of the connections."""
        with self._gate:
            first, self._closing = not self._closing, True
        if not first:
            return
        if self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def ready(self) -> bool:
        """Whether the server is there; asks it at most once a second."""
        with self._probing:
            if self._thread is None or self._closing:
                return False
            if time.monotonic() - self._probed >= FRESH:
                try:
                    self._wait(self._probe())
                    self._alive = True
                except Problem:
                    self._alive = False
                self._probed = time.monotonic()
            return self._alive

    @property
    def failure(self) -> BaseException | None:
        """A server that went away may come back."""
        return None

    async def _leave(self) -> None:
        await self._finish()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._http.aclose()

    async def _finish(self) -> None:
        """Wait for what was begun and must not be cut off."""

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE):
                response = await self._http.get("/health")
                if response.status_code in (401, 403, 404, 405):  # not every server has it
                    response = await self._http.get("/v1/models")
        except (httpx.HTTPError, TimeoutError) as error:
            reason = str(error).strip() or type(error).__name__
            raise Unavailable(f"There is no server of answers at {self._url} ({reason}).", hint=HINT) from error
        if response.status_code != 200:
            raise refusal(response, self.settings.key)

    async def _cards(self) -> list[dict[str, Any]]:
        """What GET /v1/models says; nothing where it says nothing and the model's name is set anyway."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                response = await self._http.get("/v1/models")
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._lost(error) from error
        if response.status_code in (401, 403):
            raise refusal(response, self.settings.key)
        try:
            listed = response.json()["data"] if response.status_code == 200 else []
            return [card for card in listed if isinstance(card, dict)]
        except (ValueError, KeyError, TypeError):
            return []

    def _lost(self, error: Exception | None) -> Unavailable:
        """What is said of a server that went away or talks nonsense; the log has the address and the detail."""
        log.warning("the server of answers at %s: %r", self._url, error or "it broke off an answer")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            message = "The server that makes the answers cannot be reached."
        elif isinstance(error, TimeoutError | httpx.TimeoutException):
            message = f"The server that makes the answers was silent for {self.settings.timeout:g} s."
        elif error is None or isinstance(error, httpx.HTTPError):
            message = "The server that makes the answers broke off."
        else:
            message = "What the server that makes the answers sent is no stream of an answer."
        return Unavailable(message, hint=HINT)

    @property
    def _http(self) -> httpx.AsyncClient:
        assert self._client is not None, "start was not called"
        return self._client

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the loop do it, and wait. Raises Unavailable before the start and after the end."""
        with self._gate:
            if self._thread is None or self._closing:
                work.close()
                raise self._closed()
            doing = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            doing.result()
        except concurrent.futures.CancelledError:
            raise self._closed() from None

    def _closed(self) -> Unavailable:
        return Unavailable("There is no connection to the server of answers.", hint="Start it again.")
