"""Which version answers: follows the store while the server runs, and loads versions that are asked for by name.

A promoted version is loaded by the backend while the one before answers, and only then becomes the alias `ratchet`. A
stream keeps the version it began with: the backend frees a version when its last request has ended. What served before
stays loaded, so that a rollback is as quick as a glance at the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import select

from lm.adapters import adapter_hash
from lm.backend import Backend, Prompt
from lm.settings import Sampling
from lm.stream import Stream
from problems import Problem
from store.database import Store
from store.schema import Version
from store.versions import serving

log = logging.getLogger(__name__)

ALIAS = "ratchet"


class UnknownModel(Problem):
    """The name asks for no version that can be served."""


@dataclass(frozen=True)
class Loaded:
    """A version that the backend holds."""

    id: int
    adapter_hash: str | None

    @property
    def model(self) -> str:
        """The name by which the API offers it."""
        return f"{ALIAS}@{self.id}"


BASE = Loaded(0, None)


class Watcher:
    """Keeps the backend's versions in step with the store.

    Args:
        poll_seconds: time between two looks at the store.
        retry_seconds: time before a version that failed to load is tried again.
        keep: versions held beside the one that serves, the most recently used first.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        *,
        poll_seconds: float = 1.0,
        retry_seconds: float = 30.0,
        keep: int = 4,
    ) -> None:
        self.serving = BASE
        self.canary: Loaded | None = None
        self.refused: dict[int, str] = {}
        self._store, self._backend = store, backend
        self._poll, self._retry, self._keep = poll_seconds, retry_seconds, keep
        self._held: OrderedDict[int, Loaded] = OrderedDict()  # beside the base, least recently used first
        self._refused_at: dict[int, float] = {}
        self._lock = threading.Lock()  # guards what serves and what is held
        self._loading = threading.Lock()  # one version at a time, while answers go on
        self._task: asyncio.Task[None] | None = None

    def first_look(self) -> None:
        """Load what serves, before the first request; a version that cannot be loaded gives way to its parents."""
        with self._store.session(reading=True) as session:
            rows = {row.id: (row.parent_id, row.adapter, row.adapter_hash) for row in session.scalars(select(Version))}
            wanted: int | None = serving(session).id
        while wanted:
            parent, adapter, digest = rows[wanted]
            if self._load(wanted, adapter, digest):
                break
            wanted = parent
        self._flip(wanted or 0)
        self.look()

    def look(self) -> None:
        """One look at the store: install what it says should serve, and the canary, then make them answer."""
        with self._store.session(reading=True) as session:
            row = serving(session)
            wanted = (row.id, row.adapter, row.adapter_hash)
            trial = session.execute(
                select(Version.id, Version.adapter, Version.adapter_hash)
                .where(Version.status == "canary")
                .order_by(Version.id.desc())
            ).first()
        if wanted[0] != self.serving.id and self._load(*wanted):
            self._flip(wanted[0])
        self.canary = self._held.get(trial.id) if trial and self._load(*trial) else None

    def submit(
        self, model: str, prompt: Prompt, sampling: Sampling, person: str = "", deadline: float | None = None
    ) -> tuple[Stream, Loaded]:
        """Start an answer by the version that `model` names; blocks while that version is loaded.

        Args:
            person: whom the request counts to where the backend is fair among people.
            deadline: seconds from now after which the answer ends with what there is.

        Raises:
            UnknownModel: no such version, or its adapter cannot be read.
            Problem: the backend's own refusals (prompt too long, queue full).
        """
        if model == ALIAS:
            with self._lock:
                return self._backend.ask(prompt, sampling, str(self.serving.id), person, deadline), self.serving
        wanted = self._named(model)
        with self._lock:
            loaded = BASE if wanted == 0 else self._held[wanted]
            if wanted:
                self._held.move_to_end(wanted)
            return self._backend.ask(prompt, sampling, str(wanted), person, deadline), loaded

    def models(self) -> list[str]:
        """The names that can be asked for, the alias first."""
        with self._store.session(reading=True) as session:
            return [ALIAS, *(f"{ALIAS}@{each}" for each in session.scalars(select(Version.id).order_by(Version.id)))]

    def held(self) -> list[int]:
        """Ids of the versions in memory, the base's first."""
        with self._lock:
            return [0, *self._held]

    @property
    def running(self) -> bool:
        """Whether it looks at the store; what serves was loaded before."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Load what serves, then keep looking."""
        await asyncio.to_thread(self.first_look)
        self._task = asyncio.create_task(self._watch(), name="watch what serves")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # the store may be away for a moment: what serves goes on serving
                log.exception("could not see what should serve; version %d goes on", self.serving.id)

    def _named(self, model: str) -> int:
        name, _, number = model.partition("@")
        if name != ALIAS or not number.isascii() or not number.isdigit():
            raise UnknownModel(f"there is no model {model!r}", hint="GET /v1/models lists the names")
        wanted = int(number)
        if wanted:
            with self._store.session(reading=True) as session:
                row: Version | None = session.get(Version, wanted)
                if row is None:
                    raise UnknownModel(f"there is no version {wanted}", hint="GET /v1/models lists the names")
                adapter, digest = row.adapter, row.adapter_hash
            if not self._load(wanted, adapter, digest):
                raise UnknownModel(f"version {wanted} cannot be served: {self.refused[wanted]}", hint="promote another")
        return wanted

    def _load(self, version: int, adapter: str | None, digest: str | None) -> bool:
        """Have the backend hold a version; False if its adapter is refused."""
        with self._loading:
            return version == 0 or version in self._held or self._load_anew(version, adapter, digest)

    def _load_anew(self, version: int, adapter: str | None, digest: str | None) -> bool:
        if time.monotonic() - self._refused_at.get(version, float("-inf")) < self._retry:
            return False
        try:
            folder = self._store.home / (adapter or "")
            found = adapter_hash(folder)
            if found != digest:
                raise Problem(f"its adapter {folder} is not the one that was stored ({found}, not {digest})")
            self._backend.load(str(version), folder)
        except (Problem, OSError) as refusal:
            self.refused[version], self._refused_at[version] = str(refusal), time.monotonic()
            log.error("version %d is refused: %s; version %d goes on", version, refusal, self.serving.id)
            return False
        with self._lock:
            self._held[version] = Loaded(version, digest)
        self.refused.pop(version, None)
        self._refused_at.pop(version, None)
        return True

    def _flip(self, version: int) -> None:
        """Make a held version the one that serves, and let go of those long unused."""
        with self._lock:
            previous = self.serving
            self.serving = BASE if version == 0 else self._held[version]
            for kept in (previous.id, version):
                if kept in self._held:
                    self._held.move_to_end(kept)
            while len(self._held) > self._keep + 1:
                old = next(iter(self._held))
                del self._held[old]
                self._backend.remove(str(old))
        log.info("version %d serves", version)
