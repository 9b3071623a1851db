"""The running batch: requests side by side, a slot each, read and answered a step at a time.

Slots stay gapless: [0, ready) generate, [ready, len(rows)) still read their prompts; when a row leaves, the last one
moves into its place. Used by one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from lm.attention import widen
from lm.batching import PROBED, verify_batching
from lm.cache import SlotCache
from lm.likelihood import Batch, log_likelihood
from lm.loading import Base
from lm.lora import AdapterBank, Version
from lm.masks import masks, narrowed
from lm.prefix import Prefix, PrefixCache
from lm.request import Request
from lm.sampler import SamplingPlan, draw, likeliest
from lm.settings import EngineSettings
from lm.stream import Likeliest
from lm.twin import pick_positions, twin
from problems import Problem

EVEN = 8  # rows


class Slots:
    """Rows of a batch over a twin of the base's modules.

    Args:
        context: tokens that a slot holds at most.

    Raises:
        Problem: the model's kind cannot run in slots.
        UnfitFormat: its number format is too coarse to.
    """

    def __init__(self, base: Base, settings: EngineSettings, context: int) -> None:
        self.rows: list[Request] = []
        self.ready = 0
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        self._device, self._piece = base.device, settings.prefill
        self._model = twin(base.model)
        self._head = pick_positions(self._model)
        self.bank = AdapterBank(self._model)
        config, kept, found = base.model.config.get_text_config(), widen(self._model), masks(base.model)
        layers, self._vocabulary = config.num_hidden_layers, int(config.vocab_size)
        self._cache = SlotCache(layers, slots=2, context=PROBED, dtype=kept)
        self._masks = found.narrow()
        self._most, self._few = settings.slots, settings.few_widths
        with torch.inference_mode():
            verify_batching(base, narrowed(base.model), self._forward)
        self._cache, self._masks = SlotCache(layers, settings.slots, context, dtype=kept), found
        self._prefixes = PrefixCache(settings.prefix_cache * 2**20)
        self._living: Collection[Version] = ()
        self._plan: SamplingPlan | None = None
        self._rearranged = False

    @property
    def bytes(self) -> int:
        """Memory of keys and values, those of earlier requests included."""
        return self._cache.bytes + self._prefixes.bytes

    def seat(self, requests: Sequence[Request]) -> None:
        """Give requests the next slots, begun with what was read of their prompts before."""
        first = len(self.rows)
        self.rows += requests  # all of them before anything can go wrong: nobody is lost
        self._rearranged = self._rearranged or bool(requests)
        for slot, request in enumerate(requests, first):
            self._begin(slot, request)

    def next_to_read(self) -> list[Request]:
        """Rows whose prompts are read in this step: one piece of a long one, or several whole ones side by side."""
        reading = self.rows[self.ready :]
        longest = 0
        for count, request in enumerate(reading):
            longest = max(longest, len(request.prompt) - request.filled)
            if longest * (count + 1) > self._piece:
                return reading[: max(count, 1)]
        return reading

    def read(self) -> None:
        """Read prompts, and draw the first token of those that are read to their end."""
        rows = self.next_to_read()
        if not rows:
            return
        self._arrange()
        pieces = [request.prompt[request.filled : request.filled + self._piece] for request in rows]
        width = max(map(len, pieces))
        tokens = torch.tensor([piece + [0] * (width - len(piece)) for piece in pieces], device=self._device)
        # Padding stands behind each piece: its keys are overwritten before any later token can see them.
        logits = self._forward(
            self.ready, tokens, [request.filled for request in rows], picks=[len(piece) - 1 for piece in pieces]
        )
        for request, piece in zip(rows, pieces, strict=True):
            request.filled += len(piece)
        if rows[0].filled == len(rows[0].prompt):  # all of them: only a piece read alone can be unfinished
            self.ready += len(rows)
            self._rearranged = True
            self._draw(rows, logits, self._planned(rows))

    def advance(self) -> None:
        """Draw the next token of every row that is past its prompt."""
        self._arrange()
        rows = self.rows[: self.ready]
        if not rows or self._plan is None:
            return
        # Rows beyond those that generate are computed with and thrown away. What they write stands where the next token
        # of a prompt will be written over it.
        beyond = self._width() - len(rows)
        filled = [request.filled for request in self.rows[: len(rows) + beyond]]
        filled += [0] * (len(rows) + beyond - len(filled))
        tokens = torch.tensor([request.token_ids[-1:] for request in rows] + [[0]] * beyond, device=self._device)
        logits = self._forward(0, tokens, filled)[: len(rows)]
        for request in rows:
            request.filled += 1
        self._draw(rows, logits, self._plan)

    def leave(self, leaving: Iterable[Request], spoilt: bool = False) -> None:
        """Free the slots of `leaving`, those that have one, keeping the rows gapless. `spoilt`: nothing that the slots
        hold can be believed, so all of it is cleared and none remembered.
        """
        for request in leaving:
            if request not in self.rows:
                continue
            row = self.rows.index(request)
            self.generated_tokens += len(request.token_ids)
            if spoilt or request.stream.failed:
                self._cache.clear(row)
            elif request.live and request.filled:
                self._remember(request, row)
            if row < self.ready:
                self.ready -= 1
                self._move(self.ready, row)
                row = self.ready
            self._move(len(self.rows) - 1, row)
            self.rows.pop()
            self._rearranged = True
        if self._rearranged and not self.rows:
            self._arrange()  # hold no adapter while idle

    def keep(self, versions: Collection[Version]) -> None:
        """Give up what was read by any other version, now and when its last request leaves."""
        self._living = versions
        self._prefixes.keep(versions)

    def likelihood(self, batch: Batch, version: Version) -> list[float]:
        """Log-likelihood of the batch's completions, in nats, while no other row runs."""
        count = len(batch.rows)
        self.bank.activate([version] * count)
        self.bank.select(0, count)
        self._head.positions = None
        self._rearranged = True
        values: list[float] = log_likelihood(self._model, batch).tolist()
        return values

    def _begin(self, slot: int, request: Request) -> None:
        request.waited = time.monotonic() - request.submitted
        found = self._prefixes.find(request.version, request.person, request.prompt) if request.live else None
        if found is not None:
            prefix, shared = found
            self._cache.write(slot, prefix.keys[:, :shared], prefix.values[:, :shared])
            request.filled = request.cached = shared
            request.prefix = prefix if shared == len(prefix.tokens) else None
        self.prompt_tokens += len(request.prompt)
        self.cached_tokens += request.cached

    def _remember(self, request: Request, row: int) -> None:
        if self._prefixes.limit and request.version in self._living:
            tokens = (request.prompt + request.token_ids)[: request.filled]
            kept = Prefix((request.version, request.person), tokens, *self._cache.read(row, request.filled))
            self._prefixes.add(kept, replaces=request.prefix)

    def _arrange(self) -> None:
        """Tell the modules and the sampler who sits where."""
        if self._rearranged:
            versions = [request.version for request in self.rows]
            self.bank.activate(versions + versions[-1:] * (self._width() - len(versions)))
            self._plan = self._planned(self.rows[: self.ready])
            self._rearranged = False

    def _width(self) -> int:
        """Rows of a step that generates: with few widths a power of two or a multiple of `EVEN`."""
        if not self._few:
            return self.ready
        even = 1 << (self.ready - 1).bit_length() if self.ready <= EVEN else -(-self.ready // EVEN) * EVEN
        return min(even, self._most) if self.ready else 0

    def _planned(self, rows: Sequence[Request]) -> SamplingPlan:
        return SamplingPlan(
            [request.sampling for request in rows],
            self._device,
            said=lambda row: rows[row].prompt + rows[row].token_ids,
            vocabulary=self._vocabulary,
        )

    def _forward(self, first: int, tokens: Tensor, filled: list[int], picks: list[int] | None = None) -> Tensor:
        """Logits [rows, vocabulary] after `tokens` [rows, width], which continue the slots from `first` on.

        `filled`: tokens each slot holds already; `picks`: index of each row's last real token, None for the only one.
        """
        count, width = tokens.shape
        starts = torch.tensor(filled, device=self._device)[:, None]
        positions = starts if width == 1 else starts + torch.arange(width, device=self._device)
        longest = max(filled) + width
        self._cache.open(first, first + count, positions, longest)
        self.bank.select(first, first + count)
        self._head.positions = None if picks is None else torch.tensor(picks, device=self._device)
        logits: Tensor = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._masks.make(positions, longest, self._cache.dtype or self._model.dtype),
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return logits[:, -1].float()

    def _draw(self, rows: list[Request], logits: Tensor, plan: SamplingPlan) -> None:
        uniforms = torch.tensor([request.uniform() for request in rows], device=self._device)
        drawn = draw(logits, plan, uniforms)
        told = _told(rows, logits, plan.told)
        ended = []
        for request, likely, token, logprob, sampling_logprob in zip(
            rows, told, *(part.tolist() for part in drawn), strict=True
        ):
            try:
                if logprob != logprob:
                    raise Problem("The model computed NaN for this request.", hint="Roll back to an earlier version.")
                if request.accept(token, logprob, sampling_logprob, likely):
                    ended.append(request)
            except Exception as error:  # this row's alone: the others go on
                request.stream.fail(error)
                ended.append(request)
        self.leave(ended)

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self._cache.move(source, target, self.rows[source].filled)
            self.rows[target] = self.rows[source]


def _told(rows: Sequence[Request], logits: Tensor, most: int) -> Sequence[Likeliest | None]:
    """The likeliest tokens of each row that asked for them."""
    if not most:
        return [None] * len(rows)
    tokens, logprobs = (part.tolist() for part in likeliest(logits, most))
    return [
        list(zip(tokens[row], logprobs[row], strict=True))[: request.sampling.top_logprobs]
        if request.sampling.top_logprobs
        else None
        for row, request in enumerate(rows)
    ]
