"""What an engine tells of itself, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """A moment's state, and totals since the start.

    `running` requests hold a slot, `waiting` ones do not yet. Of `prompt_tokens`, `cached_tokens` had been read before.
    `ended` counts requests by finish reason, and under "failed" those that an error ended.
    """

    slots: int
    running: int
    waiting: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    ended: dict[str, int]
    versions: list[str]
    cache_bytes: int
