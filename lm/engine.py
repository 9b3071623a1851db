"""Many requests, one model: continuous batching, where requests join and leave at any step.

A step admits waiting requests to free slots, reads some of their prompts, and draws one token for every request that is
past its prompt (Yu et al. 2022, "Orca", OSDI). Works on token ids; of messages and ratings it knows nothing, and of
people only whose turn it is.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

import torch

from lm.adapters import Adapter, check_adapter
from lm.figures import Figures
from lm.likelihood import batches
from lm.line import Late, Line, Unavailable
from lm.loading import Base
from lm.lora import Version
from lm.masks import steady_context
from lm.request import Request
from lm.settings import EngineSettings, Sampling
from lm.slots import Slots
from lm.stream import Completion, Stream
from lm.writer import decoder
from problems import Problem

log = logging.getLogger(__name__)

BASE = "0"  # the version with the adapters off
KEPT = 8  # one slot of so many stays free of any one key or address, so that a short question of another need not wait
LONGEST_WAIT = 30  # seconds; the most that a refused caller is told to wait
_LIKELIHOOD_ROWS = 16
_SMOOTHING = 0.1  # weight of the newest answer in the running mean of how long one takes


class Engine:
    """Generates for many callers at once. Thread-safe.

    After `start` (or inside `with`) an own thread steps; without it `generate` steps in the caller's thread.

    An error fails the requests that it struck, and the others go on. One that nobody can be named for, or that comes
    while the struck ones are cleared away, leaves slots that cannot be trusted: the engine then breaks for good, every
    stream ends with an error, and new requests are refused. `failure` tells.
    """

    def __init__(self, base: Base, settings: EngineSettings | None = None) -> None:
        """Raises Problem if the model's kind cannot run in slots."""
        self.base = base
        self.settings = settings or EngineSettings()
        self.context = min(self.settings.context, base.context, steady_context(base.model.config.get_text_config()))
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self._slots = Slots(base, self.settings, self.context)
        self._ends, self._decode_text = base.eos_ids, decoder(base.tokenizer)
        self._vocabulary = base.model.config.get_text_config().vocab_size
        self._stepping = threading.Lock()  # held during a step: guards the slots

        self._gate = threading.Condition()  # guards what follows; notified when there may be work
        self._waiting = Line(self.settings.queue, most=max(1, self.settings.slots - self.settings.slots // KEPT))
        self._bulk: deque[Request] = deque()
        self._versions: dict[str, Version] = {BASE: self._slots.bank.prepare(BASE, None)}
        self._outdated = True  # the versions have changed since the last step
        self._ended: Counter[str] = Counter()
        self._seconds = 1.0  # running mean of what an answer took, its wait included
        self._unfinished: dict[Stream, bool] = {}  # every stream that has not ended, and whether it is live
        self._failure: BaseException | None = None
        self._closing = False
        self._thread: threading.Thread | None = None

    # Life

    def start(self) -> None:
        """Step in an own thread from now on."""
        with self._gate:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Refuse new requests, finish those that run or wait, then end the thread."""
        with self._gate:
            self._closing = True
            self._gate.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        else:
            while self.step():
                pass

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def failure(self) -> BaseException | None:
        """What broke the engine for good; None as long as it works."""
        return self._failure

    # Versions

    def install(self, version: str, adapter: Adapter | None) -> None:
        """Make `version` available to new requests; None turns the adapters off for it.

        The matrices are copied, so that the caller may go on training them. An installed version that no request uses
        is replaced.

        Raises:
            Problem: the adapter does not fit the base or is not finite (whatever stood under the name keeps serving),
                or requests still use the version of that name.
        """
        if version == BASE:
            raise Problem('The version "0" is the base itself.', hint="Install under another name.")
        if adapter is not None:
            check_adapter(adapter, self.base)
        prepared = self._slots.bank.prepare(version, adapter)
        with self._gate:
            old = self._versions.get(version)
            if old is not None and any(request.version is old for request in self._all()):
                raise Problem(f"Requests still use version {version}.", hint="Wait for them, or use another name.")
            self._versions[version] = prepared
            self._outdated = True

    def remove(self, version: str) -> None:
        """Offer `version` no more; its memory is freed once the last request on it has ended. Problem if unknown."""
        if version == BASE:
            raise Problem('The version "0" is the base itself and stays.', hint="Remove another version.")
        with self._gate:
            if self._versions.pop(version, None) is None:
                raise self._unknown(version)
            self._outdated = True
            self._gate.notify_all()

    def versions(self) -> list[str]:
        """Names that requests may ask for, "0" first."""
        with self._gate:
            return list(self._versions)

    # Requests

    def submit(
        self,
        prompt_ids: list[int],
        sampling: Sampling,
        version: str = BASE,
        person: str = "",
        deadline: float | None = None,
        door: str = "",
    ) -> Stream:
        """Queue a request and return its stream at once.

        Args:
            person: whose request it is; people take turns, and only their own earlier prompts are reused for them.
            door: the key or network address that it came by, whose people together take turns with those of others.
            deadline: seconds after which it ends, with what there is; the settings' own is the most.

        Raises:
            QueueFull: too many wait already, of all or of this person's.
            Unavailable: the engine is broken.
            Problem: unknown version, empty or too long prompt, or the engine is closed.

        A request whose deadline passes while it waits fails with `Late`.
        """
        limits = [seconds for seconds in (deadline, self.settings.deadline) if seconds]
        until = time.monotonic() + min(limits) if limits else None
        with self._gate:
            held = self._find(version)
            stream = Stream(version, self._noting(), self.settings.stream_interval)
            request = self._request(
                prompt_ids, sampling, held, stream, live=True, person=person, deadline=until, door=door
            )
            self._waiting.add(request, wait=min(LONGEST_WAIT, math.ceil(self._seconds)))
            self._unfinished[stream] = True
            self._gate.notify_all()
        return stream

    def generate(
        self,
        prompts: list[list[int]],
        sampling: Sampling | list[Sampling],
        version: str = BASE,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer any number of prompts, in their order; `progress` hears how many are done.

        While an own thread steps, streams go before these prompts and find a quarter of the slots free of them.

        Raises:
            Problem: as `submit`, except that no queue limits the number of prompts.
            Exception: a failed request's error, or the one that broke the engine meanwhile.
        """
        samplings = sampling if isinstance(sampling, list) else [sampling] * len(prompts)
        ended: queue.SimpleQueue[Stream] = queue.SimpleQueue()
        with self._gate:
            held = self._find(version)
            requests = [
                self._request(prompt, each, held, Stream(version, self._noting(ended.put)), live=False)
                for prompt, each in zip(prompts, samplings, strict=True)
            ]
            self._bulk.extend(requests)
            self._unfinished.update((request.stream, False) for request in requests)
            self._gate.notify_all()
        try:
            for done in range(1, len(requests) + 1):
                while self._thread is None and ended.empty():
                    self.step()
                ended.get()
                if progress is not None:
                    progress(done)
        finally:
            for request in requests:
                request.stream.cancel()
        return [request.stream.completion for request in requests]

    def likelihood(
        self, prompts: Sequence[list[int]], completions: Sequence[list[int]], version: str = BASE
    ) -> list[float]:
        """Log-likelihood of each completion after its prompt, in nats, summed over its tokens.

        Read in small batches, between which requests go on.

        Raises:
            Problem: unknown version, or the engine is closed.
        """
        with self._gate:
            held = self._find(version)
        rows = [(prompt + completion, len(prompt)) for prompt, completion in zip(prompts, completions, strict=True)]
        found = [0.0] * len(rows)
        for batch in batches(rows, 0, _LIKELIHOOD_ROWS, self.base.device):
            with self._stepping, torch.inference_mode():
                for row, value in zip(batch.rows, self._slots.likelihood(batch, held), strict=True):
                    found[row] = value
        return found

    def figures(self) -> Figures:
        """How it stands now, and its totals; may lag a step behind."""
        slots = self._slots
        with self._gate:
            return Figures(
                slots=self.settings.slots,
                running=len(slots.rows),
                waiting=len(self._waiting) + len(self._bulk),
                prompt_tokens=slots.prompt_tokens,
                cached_tokens=slots.cached_tokens,
                generated_tokens=slots.generated_tokens,
                ended=dict(self._ended),
                versions=list(self._versions),
                cache_bytes=slots.bytes,
            )

    # Steps

    def step(self) -> bool:
        """Advance every request by one token or one piece of its prompt; returns whether anything is left to do.

        Raises:
            Exception: it broke the engine, whose every stream has ended with an error.
        """
        slots = self._slots
        with self._stepping, torch.inference_mode():
            if self._failure is not None:
                return False
            try:
                self._sweep()
                self._admit()
                self._attempt(slots.read, slots.next_to_read())
                self._attempt(slots.advance, slots.rows[: slots.ready])
            except Exception as error:
                self._break(error)
                raise
            with self._gate:
                return bool(slots.rows or self._waiting or self._bulk)

    def _run(self) -> None:
        try:
            while True:
                with self._gate:
                    while not (self._slots.rows or self._waiting or self._bulk or self._closing or self._outdated):
                        self._gate.wait()
                    if self._closing and not (self._slots.rows or self._waiting or self._bulk):
                        return
                self.step()
        except BaseException as error:  # nobody else would hear of it
            self._break(error)
            log.critical("the engine has stopped", exc_info=error)

    def _break(self, error: BaseException) -> None:
        """End every stream with an error and refuse what comes. Whoever answers in bulk gets the error itself; readers
        of streams, who may be strangers, hear nothing of the inside.
        """
        with self._gate:
            if self._failure is not None:
                return
            self._failure = error
            unfinished = list(self._unfinished.items())
            self._slots.rows.clear()
            self._waiting.drop(lambda request: True)
            self._bulk.clear()
        for stream, live in unfinished:
            stream.fail(self._stopped() if live else error)

    def _stopped(self) -> Unavailable:
        stopped = Unavailable("The engine has stopped.", hint="Start it again; its log says why.")
        stopped.__cause__ = self._failure
        return stopped

    def _attempt(self, part: Callable[[], None], struck: Sequence[Request]) -> None:
        """Do a part of a step; an error in it ends the requests that it is done for."""
        struck = list(struck)  # the part may let some of them go
        try:
            part()
        except Exception as error:  # handed to whoever waits for the answers
            if not struck:
                raise
            for request in struck:
                request.stream.fail(error)
            self._slots.leave(struck, spoilt=True)

    def _sweep(self) -> None:
        """Drop what its caller has cancelled and what is late, running or waiting."""
        now = time.monotonic()

        def late(request: Request) -> bool:
            return request.deadline is not None and request.deadline <= now

        def over(request: Request) -> bool:
            return request.stream.cancelled or late(request)

        running = [request for request in self._slots.rows if over(request)]
        with self._gate:
            waiting = self._waiting.drop(over)
            given_up = [request for request in self._bulk if request.stream.cancelled]
            for request in given_up:
                self._bulk.remove(request)
            versions = set(self._versions.values()) if self._outdated else None
            self._outdated = False
        for request in (*running, *waiting, *given_up):
            if request.stream.cancelled:
                request.close("cancelled")
            elif request in running:
                request.close("deadline")
            else:
                request.stream.fail(Late("The request's time was over before its turn came.", hint="Try again later."))
        if running:
            self._attempt(lambda: self._slots.leave(running), running)
        if versions is not None:
            self._slots.keep(versions)

    def _admit(self) -> None:
        """Fill free slots, streams first; prompts that come together are read shortest first, since those read side by
        side are padded to the longest of them.
        """
        running = list(self._slots.rows)
        kept = self.settings.slots // 4 if self._thread is not None else 0  # slots that prompts in bulk leave free
        with self._gate:
            free = self.settings.slots - len(self._slots.rows)
            admitted: list[Request] = []
            while len(admitted) < free and (request := self._waiting.take([*running, *admitted])) is not None:
                admitted.append(request)
            while self._bulk and len(admitted) < free - kept:
                admitted.append(self._bulk.popleft())
            admitted.sort(key=lambda request: len(request.prompt))
            self._attempt(lambda: self._slots.seat(admitted), admitted)

    def _noting(self, ended: Callable[[Stream], None] = lambda stream: None) -> Callable[[Stream], None]:
        """What a stream calls when it is over: its reason and its time are noted, then `ended` hears of it."""
        begun = time.monotonic()

        def note(stream: Stream) -> None:
            self._unfinished.pop(stream, None)
            self._ended["failed" if stream.failed else stream.completion.finish_reason] += 1
            self._seconds += _SMOOTHING * (time.monotonic() - begun - self._seconds)
            ended(stream)

        return note

    # Requests' making; the gate is held

    def _all(self) -> Iterable[Request]:
        """Every request not yet over. Rows change during a step, yet a living one is never out of the list."""
        return [*self._slots.rows, *self._waiting, *self._bulk]

    def _find(self, version: str) -> Version:
        if self._failure is not None:
            raise self._stopped()
        if self._closing:
            raise Problem("The engine is closed.", hint="Start it again.")
        if version not in self._versions:
            raise self._unknown(version)
        return self._versions[version]

    def _unknown(self, version: str) -> Problem:
        return Problem(f"No version {version} is installed.", hint=f"There are: {', '.join(self._versions)}.")

    def _request(
        self, prompt: list[int], sampling: Sampling, version: Version, stream: Stream, live: bool, person: str = "",
        deadline: float | None = None, door: str = "",
    ) -> Request:  # fmt: skip
        room = self.context - len(prompt)
        if not prompt:
            raise Problem("The prompt is empty.", hint="Send at least one token.")
        if room < 1:
            raise Problem(
                f"The prompt has {len(prompt)} tokens; prompt and answer together have {self.context}.",
                hint="Send fewer messages or give the engine a longer context.",
            )
        if not all(0 <= token < self._vocabulary for token in prompt):
            raise Problem(
                "The prompt holds a token that the model does not know.", hint="Encode it with its tokenizer."
            )
        return Request(
            prompt, sampling, version, stream, room, self._ends, self._decode_text, live, person, deadline, door
        )
