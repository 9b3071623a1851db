"""Many requests, one model: continuous batching, where requests join and leave at any step.

Each request has a slot (a row of the cache and of the batch). A step admits waiting requests to free slots, reads some
of their prompts, and draws one token for every request that is past its prompt (Yu et al. 2022, "Orca", OSDI). Slots
stay gapless: [0, ready) generate, [ready, len(rows)) still read their prompts; when a row leaves, the last one moves
into its place. Works on token ids; of messages, people and ratings it knows nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

import torch
from torch import Tensor

from lm.adapters import Adapter, check_adapter
from lm.cache import SlotCache
from lm.figures import Figures
from lm.likelihood import batches, log_likelihood
from lm.loading import Base
from lm.lora import AdapterBank, Version
from lm.request import Request
from lm.sampler import SamplingPlan, draw
from lm.settings import EngineSettings, Sampling
from lm.stream import Completion, Stream
from lm.twin import check_twin, pick_positions, twin, unwindowed
from lm.writer import decoder
from problems import Problem

BASE = "0"  # the version with the adapters off
_LIKELIHOOD_ROWS = 16


class QueueFull(Problem):
    """As many requests wait as may; try again in `wait` seconds."""

    def __init__(self, message: str, *, hint: str = "", wait: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.wait = wait


class Late(Problem):
    """Waited past its deadline and never began."""


class Engine:
    """Generates for many callers at once. Thread-safe.

    After `start` (or inside `with`) an own thread steps; without it `generate` steps in the caller's thread.
    """

    def __init__(self, base: Base, settings: EngineSettings | None = None) -> None:
        """Raises Problem if the model's kind cannot run in slots."""
        self.base = base
        self.settings = settings or EngineSettings()
        self.context = min(self.settings.context, base.context, unwindowed(base.model.config))
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self._device = base.device
        self._model = twin(base.model)
        self._head = pick_positions(self._model)
        self._bank = AdapterBank(self._model)
        layers = base.model.config.num_hidden_layers
        self._cache = SlotCache(layers, slots=2, context=16)
        with torch.inference_mode():
            check_twin(base.model, self._forward)
        self._cache = SlotCache(layers, self.settings.slots, self.context)
        self._ends, self._decode_text = base.eos_ids, decoder(base.tokenizer)
        self._vocabulary = base.model.config.vocab_size

        self._rows: list[Request] = []
        self._ready = 0
        self._rearranged = False
        self._plan: SamplingPlan | None = None
        self._stepping = threading.Lock()  # held during a step: guards the rows, the cache and the modules

        self._gate = threading.Condition()  # guards what follows; notified when there may be work
        self._waiting: deque[Request] = deque()
        self._bulk: deque[Request] = deque()
        self._versions: dict[str, Version] = {BASE: self._bank.prepare(BASE, None)}
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
        prepared = self._bank.prepare(version, adapter)
        with self._gate:
            old = self._versions.get(version)
            if old is not None and any(request.version is old for request in self._all()):
                raise Problem(f"Requests still use version {version}.", hint="Wait for them, or use another name.")
            self._versions[version] = prepared

    def remove(self, version: str) -> None:
        """Offer `version` no more; its memory is freed once the last request on it has ended. Problem if unknown."""
        if version == BASE:
            raise Problem('The version "0" is the base itself and stays.', hint="Remove another version.")
        with self._gate:
            if self._versions.pop(version, None) is None:
                raise self._unknown(version)

    def versions(self) -> list[str]:
        """Names that requests may ask for, "0" first."""
        with self._gate:
            return list(self._versions)

    # Requests

    def figures(self) -> Figures:
        """What the engine holds and has done since it was made."""
        with self._gate:
            waiting, versions = len(self._waiting), list(self._versions)
        return Figures(self.settings.slots, len(self._rows), waiting, 0, 0, 0, {}, versions, 0)

    def submit(
        self,
        prompt_ids: list[int],
        sampling: Sampling,
        version: str = BASE,
        person: str = "",
        deadline: float | None = None,
    ) -> Stream:
        """Queue a request and return its stream at once.

        Raises:
            QueueFull: too many wait already.
            Problem: unknown version, empty or too long prompt, or the engine is closed.
        """
        with self._gate:
            held = self._find(version)
            if len(self._waiting) >= self.settings.queue:
                raise QueueFull(f"{len(self._waiting)} requests wait already.", hint="Try again in a moment.")
            stream = Stream(version)
            self._waiting.append(self._request(prompt_ids, sampling, held, stream, live=True))
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
            Problem: as `submit`, except that no queue limits the number of prompts. A failed request's error.
        """
        samplings = sampling if isinstance(sampling, list) else [sampling] * len(prompts)
        ended: queue.SimpleQueue[Stream] = queue.SimpleQueue()
        with self._gate:
            held = self._find(version)
            requests = [
                self._request(prompt, each, held, Stream(version, ended.put), live=False)
                for prompt, each in zip(prompts, samplings, strict=True)
            ]
            self._bulk.extend(requests)
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
        for batch in batches(rows, 0, _LIKELIHOOD_ROWS, self._device):
            with self._stepping, torch.inference_mode():
                count = len(batch.rows)
                self._bank.activate([held] * count)
                self._bank.select(0, count)
                self._head.positions = None
                self._rearranged = True
                for row, value in zip(batch.rows, log_likelihood(self._model, batch).tolist(), strict=True):
                    found[row] = value
        return found

    # Steps

    def step(self) -> bool:
        """Advance every request by one token or one piece of its prompt; returns whether anything is left to do.

        An error fails the requests it struck, and the engine goes on.
        """
        with self._stepping, torch.inference_mode():
            self._attempt(self._sweep, lambda: [request for request in self._rows if request.stream.cancelled])
            self._attempt(self._admit, lambda: self._rows)
            self._attempt(self._prefill, self._next_to_read)
            self._attempt(self._advance, lambda: self._rows[: self._ready])
            with self._gate:
                return bool(self._rows or self._waiting or self._bulk)

    def _run(self) -> None:
        while True:
            with self._gate:
                while not (self._rows or self._waiting or self._bulk or self._closing):
                    self._gate.wait()
                if self._closing and not (self._rows or self._waiting or self._bulk):
                    return
            self.step()

    def _attempt(self, part: Callable[[], None], struck: Callable[[], Sequence[Request]]) -> None:
        try:
            part()
        except Exception as error:  # handed to whoever waits for the answers
            failed = list(struck())
            for request in failed:
                request.stream.fail(error)
            self._leave(failed)

    def _sweep(self) -> None:
        """Drop what its caller has cancelled, running or waiting."""
        gone = [request for request in self._rows if request.stream.cancelled]
        with self._gate:
            for line in (self._waiting, self._bulk):
                dropped = [request for request in line if request.stream.cancelled]
                for request in dropped:
                    line.remove(request)
                gone += dropped
        for request in gone:
            request.close("cancelled")
        self._leave(gone)

    def _admit(self) -> None:
        """Fill free slots, streams first."""
        with self._gate:
            bulk_slots = self.settings.slots - (self.settings.slots // 4 if self._thread is not None else 0)
            for line, slots in ((self._waiting, self.settings.slots), (self._bulk, bulk_slots)):
                while line and len(self._rows) < slots:
                    request = line.popleft()
                    request.waited = time.monotonic() - request.made
                    self._rows.append(request)
                    self._rearranged = True

    def _arrange(self) -> None:
        """Tell the modules and the sampler who sits where."""
        if self._rearranged:
            self._bank.activate([request.version for request in self._rows])
            self._plan = SamplingPlan([request.sampling for request in self._rows[: self._ready]], self._device)
            self._rearranged = False

    def _next_to_read(self) -> list[Request]:
        """Rows whose prompts are read in this step: one piece of a long one, or several whole ones side by side."""
        reading = self._rows[self._ready :]
        longest = 0
        for count, request in enumerate(reading):
            longest = max(longest, len(request.prompt) - request.filled)
            if longest * (count + 1) > self.settings.prefill:
                return reading[: max(count, 1)]
        return reading

    def _prefill(self) -> None:
        rows = self._next_to_read()
        if not rows:
            return
        self._arrange()
        pieces = [request.prompt[request.filled : request.filled + self.settings.prefill] for request in rows]
        width = max(map(len, pieces))
        tokens = torch.tensor([piece + [0] * (width - len(piece)) for piece in pieces], device=self._device)
        # Padding stands behind each piece: its keys are overwritten before any later token can see them.
        logits = self._forward(
            self._ready, tokens, [request.filled for request in rows], picks=[len(piece) - 1 for piece in pieces]
        )
        for request, piece in zip(rows, pieces, strict=True):
            request.filled += len(piece)
        if rows[0].filled == len(rows[0].prompt):  # all of them: only a piece read alone can be unfinished
            self._ready += len(rows)
            self._rearranged = True
            self._draw(rows, logits, SamplingPlan([request.sampling for request in rows], self._device))

    def _advance(self) -> None:
        self._arrange()
        rows = self._rows[: self._ready]
        if not rows or self._plan is None:
            return
        tokens = torch.tensor([request.token_ids[-1:] for request in rows], device=self._device)
        logits = self._forward(0, tokens, [request.filled for request in rows])
        for request in rows:
            request.filled += 1
        self._draw(rows, logits, self._plan)

    def _forward(self, first: int, tokens: Tensor, filled: list[int], picks: list[int] | None = None) -> Tensor:
        """Logits [rows, vocabulary] after `tokens` [rows, width], which continue the slots from `first` on.

        `filled`: tokens each slot holds already; `picks`: index of each row's last real token, None for the only one.
        """
        count, width = tokens.shape
        starts = torch.tensor(filled, device=self._device)[:, None]
        positions = starts if width == 1 else starts + torch.arange(width, device=self._device)
        longest = max(filled) + width
        hidden = torch.arange(longest, device=self._device) > positions[:, :, None]
        # Additive in place of boolean: attention on a CPU would convert a boolean one again in every layer.
        mask = torch.zeros(hidden.shape, dtype=self._model.dtype, device=self._device)
        mask = mask.masked_fill_(hidden, -torch.inf)[:, None]
        self._cache.open(first, first + count, positions, longest)
        self._bank.select(first, first + count)
        self._head.positions = None if picks is None else torch.tensor(picks, device=self._device)
        logits: Tensor = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return logits[:, -1].float()

    def _draw(self, rows: list[Request], logits: Tensor, plan: SamplingPlan) -> None:
        uniforms = torch.tensor([request.uniform() for request in rows], device=self._device)
        drawn = draw(logits, plan, uniforms)
        ended = []
        most = max((request.sampling.top_logprobs for request in rows), default=0)
        likeliest = torch.log_softmax(logits, -1).topk(most, dim=-1) if most else None
        for row, (request, token, logprob, sampling_logprob) in enumerate(
            zip(rows, *(part.tolist() for part in drawn), strict=True)
        ):
            wanted = request.sampling.top_logprobs
            tops = None
            if wanted and likeliest is not None:
                values, ids = likeliest.values[row, :wanted].tolist(), likeliest.indices[row, :wanted].tolist()
                tops = list(zip(ids, values, strict=True))
            try:
                if logprob != logprob:
                    raise Problem("The model computed NaN for this request.", hint="Roll back to an earlier version.")
                if request.accept(token, logprob, sampling_logprob, tops):
                    ended.append(request)
            except Exception as error:  # this row's alone: the others go on
                request.stream.fail(error)
                ended.append(request)
        self._leave(ended)

    def _leave(self, leaving: Iterable[Request]) -> None:
        """Free the slots of `leaving`, those that have one, keeping the rows gapless."""
        for request in leaving:
            if request not in self._rows:
                continue
            row = self._rows.index(request)
            if request.stream.failed:
                self._cache.clear(row)
            if row < self._ready:
                self._ready -= 1
                self._move(self._ready, row)
                row = self._ready
            self._move(len(self._rows) - 1, row)
            self._rows.pop()
            self._rearranged = True
        if self._rearranged and not self._rows:
            self._arrange()  # hold no adapter while idle

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self._cache.move(source, target, self._rows[source].filled)
            self._rows[target] = self._rows[source]

    # Requests' making; the gate is held

    def _all(self) -> Iterable[Request]:
        """Every request not yet over. Rows change during a step, yet a living one is never out of the list."""
        return [*self._rows, *self._waiting, *self._bulk]

    def _find(self, version: str) -> Version:
        if self._closing:
            raise Problem("The engine is closed.", hint="Start it again.")
        if version not in self._versions:
            raise self._unknown(version)
        return self._versions[version]

    def _unknown(self, version: str) -> Problem:
        return Problem(f"No version {version} is installed.", hint=f"There are: {', '.join(self._versions)}.")

    def _request(self, prompt: list[int], sampling: Sampling, version: Version, stream: Stream, live: bool) -> Request:
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
        return Request(prompt, sampling, version, stream, room, self._ends, self._decode_text, live)
