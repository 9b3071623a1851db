"""A prompt as token ids, as long as an update lets it be: one rule for rollouts, replay, ratings, checks and gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lm.loading import Base
from lm.prompts import Message, fit_chat
from rl.settings import PPOSettings


def prompt_room(base: Base, ppo: PPOSettings) -> int:
    """Tokens of a prompt, at most: `ppo.prompt_tokens`, or what an answer leaves of the model's context."""
    return min(ppo.prompt_tokens, base.context - ppo.max_tokens)


def raise_room(base: Base, ppo: PPOSettings) -> str:
    """What to do for a larger room."""
    if ppo.prompt_tokens <= base.context - ppo.max_tokens:
        return "raise ppo.prompt_tokens"
    return f"lower ppo.max_tokens: the model's context is {base.context}"


def encode_prompt(base: Base, ppo: PPOSettings, messages: Sequence[Message]) -> list[int]:
    """Token ids of a prompt as it is served; the oldest turns are left out where it is too long.

    Raises:
        Problem: the template refuses it, or its system message alone is too long.
    """
    return fit_chat(base, list(messages), prompt_room(base, ppo), raise_limit=raise_room(base, ppo))


def distinct(base: Base, ppo: PPOSettings, prompts: Iterable[Any], most: int) -> tuple[list[Any], list[list[int]]]:
    """The first `most` prompts that differ in what the model reads, and their token ids.

    Two answers to one prompt tell less than answers to two, and an interval over both would look surer than it is.
    """
    found: dict[tuple[int, ...], Any] = {}
    for messages in prompts:
        if len(found) == most:
            break
        found.setdefault(tuple(encode_prompt(base, ppo, messages)), messages)
    return list(found.values()), [list(ids) for ids in found]
