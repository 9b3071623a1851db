"""What the engine holds at a moment, and what it has done since it was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Counts since the start, and the state now."""

    slots: int
    running: int
    waiting: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    ended: dict[str, int]
    versions: list[str]
    cache_bytes: int
