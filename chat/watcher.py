"""Which version answers: follows the store while the server runs, and loads versions that are asked for by name.

A promoted version is loaded by the backend while the one before answers, and only then becomes the alias `ratchet`. A
stream keeps the version it began with. What served before stays loaded, so that a rollback is as quick as a glance at
the store. Beside what serves and the canary only so many versions are held; those asked for least recently go first,
and are loaded again when they are asked for again.
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
from lm.line import Unavailable
from lm.settings import Sampling
from lm.stream import Stream
from problems import Problem
from store.database import Store
from store.schema import Version
from store.versions import serving

log = logging.getLogger(__name__)

ALIAS = "ratchet"
MOST_DIGITS = 18  # of a version's number, which is one of 64 bits
UNPROVEN = ("candidate", "rejected")  # statuses of versions that never served and that no trial in the chat shows


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
        keep: versions held beside the base, what serves and the canary: those asked for most recently. One that still
            answers a stream is not let go of.
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
        self._streams: dict[int, list[Stream]] = {}  # begun by a held version and perhaps not over
        self._refused_at: dict[int, float] = {}
        self._lock = threading.Lock()  # guards what serves and what is held
        self._loading = threading.Lock()  # one version comes or goes at a time, while answers go on
        self._task: asyncio.Task[None] | None = None

    def first_look(self) -> None:
        """Load what serves, before the first request; a version that cannot be loaded gives way to its parents."""
        with self._store.session(reading=True) as session:
            rows = {row.id: (row.parent_id, row.adapter, row.adapter_hash) for row in session.scalars(select(Version))}
            wanted: int | None = serving(session).id
        with self._loading:
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
        with self._loading:
            if wanted[0] != self.serving.id and self._load(*wanted):
                self._flip(wanted[0])
            loaded = trial is not None and self._load(*trial)
            with self._lock:
                self.canary = self._held[trial.id] if trial and loaded else None
            self._let_go()

    def submit(
        self,
        model: str,
        prompt: Prompt,
        sampling: Sampling,
        person: str = "",
        deadline: float | None = None,
        door: str = "",
    ) -> tuple[Stream, Loaded]:
        """Start an answer by the version that `model` names; blocks while that version is loaded.

        Args:
            person: whom the request counts to where the backend is fair among people.
            door: the key or network address that it came by; names can be invented, so its people count together.
            deadline: seconds from now after which the answer ends with what there is.

        Raises:
            UnknownModel: no such version, or its adapter cannot be read.
            Unavailable: as many versions as may be held are all being answered by.
            Problem: the backend's own refusals (prompt too long, queue full).
        """
        wanted = None if model == ALIAS else self._number(model)
        asking = prompt, sampling, person, deadline, door
        with self._lock:
            version = self.serving.id if wanted is None else wanted
            if version == 0 or version in self._held:
                return self._ask(version, *asking)
        with self._store.session(reading=True) as session:
            row: Version | None = session.get(Version, version)
            if row is None:
                raise UnknownModel(f"there is no version {version}", hint="GET /v1/models lists the names")
            adapter, digest = row.adapter, row.adapter_hash
        with self._loading:  # until the answer has begun, so that nobody lets go of the version in between
            if version not in self._held and not self._rests(version) and not self._let_go(room=1):
                raise Unavailable(
                    f"the {self._keep} versions that may be loaded are all in use", hint="try again later"
                )
            if not self._load(version, adapter, digest):
                raise UnknownModel(
                    f"version {version} cannot be served: {self.refused[version]}", hint="promote another"
                )
            with self._lock:
                return self._ask(version, *asking)

    def models(self, *, unproven: bool = True) -> list[str]:
        """The names that can be asked for, the alias first; those of unproven versions only where wanted."""
        versions = select(Version.id).order_by(Version.id)
        if not unproven:
            versions = versions.where(Version.status.not_in(UNPROVEN))
        with self._store.session(reading=True) as session:
            return [ALIAS, *(f"{ALIAS}@{each}" for each in session.scalars(versions))]

    def unproven(self, model: str) -> bool:
        """Whether a name asks for a version that is a candidate, or that the gate rejected.

        Raises UnknownModel for what is no version's name.
        """
        if model == ALIAS:
            return False
        statuses = select(Version.status).where(Version.id == self._number(model))
        with self._store.session(reading=True) as session:
            return session.scalar(statuses) in UNPROVEN

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

    def _number(self, model: str) -> int:
        name, _, number = model.partition("@")
        if name != ALIAS or not number.isascii() or not number.isdigit() or len(number) > MOST_DIGITS:
            raise UnknownModel(f"there is no model {model!r}", hint="GET /v1/models lists the names")
        return int(number)

    def _ask(
        self, version: int, prompt: Prompt, sampling: Sampling, person: str, deadline: float | None, door: str
    ) -> tuple[Stream, Loaded]:
        """Begin an answer by a version that is held; the lock is held, too."""
        if version == 0:
            return self._backend.ask(prompt, sampling, "0", person, deadline, door), BASE
        self._held.move_to_end(version)
        stream = self._backend.ask(prompt, sampling, str(version), person, deadline, door)
        begun = self._streams.setdefault(version, [])
        begun[:] = [each for each in begun if not each.done] + [stream]
        return stream, self._held[version]

    def _load(self, version: int, adapter: str | None, digest: str | None) -> bool:
        """Have the backend hold a version; False if its adapter is refused. `_loading` is held."""
        return version == 0 or version in self._held or self._load_anew(version, adapter, digest)

    def _rests(self, version: int) -> bool:
        """Whether it failed to load so lately that it is not tried again."""
        return time.monotonic() - self._refused_at.get(version, float("-inf")) < self._retry

    def _load_anew(self, version: int, adapter: str | None, digest: str | None) -> bool:
        if self._rests(version):
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

    def _let_go(self, room: int = 0) -> bool:
        """Let go of the versions asked for least recently, until `room` more fit; False if too many are in use.

        `_loading` is held, so that nobody counts on a version that goes.
        """
        with self._lock:
            kept = {self.serving.id} | ({self.canary.id} if self.canary else set())
            others = [version for version in self._held if version not in kept]
            idle = [each for each in others if all(stream.done for stream in self._streams.get(each, ()))]
            excess = max(0, len(others) + room - self._keep)
            if room and excess > len(idle):
                return False
            for version in idle[:excess]:
                del self._held[version]
                self._streams.pop(version, None)
                self._backend.remove(str(version))
            return excess <= len(idle)

    def _flip(self, version: int) -> None:
        """Make a held version the one that serves. `_loading` is held."""
        with self._lock:
            previous = self.serving
            self.serving = BASE if version == 0 else self._held[version]
            for kept in (previous.id, version):
                if kept in self._held:
                    self._held.move_to_end(kept)
        log.info("version %d serves", version)
