"""Keys and values of every running request, a slot each, where requests join and leave between steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

SMALLEST = 128  # tokens a slot holds before it first grows


class SlotCache(Cache):
    """A transformers cache whose batch rows are slots.

    Keys and values live in [layers, slots, length, kv heads, head dim]; length stands before heads so that a token's
    write is one row. Both slots and length start small and double, so that a long context costs memory only once used.
    A forward covers the slots from `first` to `last` and is announced by `open`.

    Args:
        dtype: number format in which they are kept and attention sees them; None for the model's own.
    """

    def __init__(self, layers: int, slots: int, context: int, dtype: torch.dtype | None = None) -> None:
        super().__init__(layers=[])
        self._layers, self._slots, self._context, self.dtype = layers, slots, context, dtype
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._first = self._last = self._longest = 0
        self._positions: Tensor | None = None
        self._writes: Tensor | None = None
        self._views: tuple[tuple[Tensor, ...], ...] = ()

    def open(self, first: int, last: int, positions: Tensor, longest: int) -> None:
        """Announce a forward of slots `first` to `last` (exclusive).

        Args:
            positions: [last - first, tokens], where in its slot each new token goes.
            longest: attention sees this many tokens of each slot; every position lies below it.
        """
        self._first, self._last, self._positions, self._longest = first, last, positions, longest
        self._writes = None

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write [rows, kv heads, tokens, head dim]; return what attention sees: [rows, kv heads, longest, head dim]."""
        if self.dtype is not None:
            key_states, value_states = key_states.to(self.dtype), value_states.to(self.dtype)
        if self._writes is None:
            self._prepare(key_states, value_states)
        writes = self._writes
        assert writes is not None
        key_rows, value_rows, key_views, value_views = self._views
        key_rows[layer_idx].index_copy_(0, writes, key_states.transpose(1, 2).flatten(0, 1))
        value_rows[layer_idx].index_copy_(0, writes, value_states.transpose(1, 2).flatten(0, 1))
        return key_views[layer_idx], value_views[layer_idx]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot onto another."""
        for states in (self._keys, self._values):
            if states is not None and length:  # a slot that holds nothing yet may not have its memory yet either
                states[:, target, :length] = states[:, source, :length]

    def read(self, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """A copy of the first `length` tokens of a slot: keys and values, each [layers, length, kv heads, head dim]."""
        assert self._keys is not None
        assert self._values is not None
        return self._keys[:, slot, :length].clone(), self._values[:, slot, :length].clone()

    def write(self, slot: int, keys: Tensor, values: Tensor) -> None:
        """Begin a slot with keys and values as `read` gives them."""
        length = keys.shape[1]
        self._keys = self._grown(self._keys, keys[0].transpose(0, 1)[None], slot + 1, length)
        self._values = self._grown(self._values, values[0].transpose(0, 1)[None], slot + 1, length)
        self._keys[:, slot, :length], self._values[:, slot, :length] = keys, values

    def clear(self, slot: int) -> None:
        """Zero a slot. Masked values still meet a weight of zero in attention, and zero times NaN is NaN."""
        for states in (self._keys, self._values):
            if states is not None and slot < states.shape[1]:
                states[:, slot] = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens in the longest slot of the announced forward."""
        return self._longest

    @property
    def bytes(self) -> int:
        """Memory held now."""
        return sum(states.nbytes for states in (self._keys, self._values) if states is not None)

    def _prepare(self, key_states: Tensor, value_states: Tensor) -> None:
        self._keys = self._grown(self._keys, key_states, self._last, self._longest)
        self._values = self._grown(self._values, value_states, self._last, self._longest)
        capacity = self._keys.shape[2]
        assert self._positions is not None
        rows = torch.arange(self._first, self._last, device=self._keys.device)
        self._writes = (rows[:, None] * capacity + self._positions).flatten()
        written = [states.flatten(1, 2).unbind(0) for states in (self._keys, self._values)]
        seen = [
            states[:, self._first : self._last, : self._longest].transpose(2, 3).unbind(0)
            for states in (self._keys, self._values)
        ]
        self._views = (*written, *seen)

    def _grown(self, states: Tensor | None, new: Tensor, last: int, longest: int) -> Tensor:
        """Memory for slots up to `last` (exclusive) of `longest` tokens; `new` has the heads and the number format."""
        slots, length = (states.shape[1], states.shape[2]) if states is not None else (1, SMALLEST)
        if states is not None and slots >= last and length >= longest:
            return states
        while slots < last:
            slots *= 2
        while length < longest:
            length *= 2
        slots, length = min(slots, self._slots), max(min(length, self._context), longest)
        # Zeros, not empty memory: see `clear`.
        grown = new.new_zeros(self._layers, slots, length, new.shape[1], new.shape[3])
        if states is not None:
            grown[:, : states.shape[1], : states.shape[2]] = states
        return grown
