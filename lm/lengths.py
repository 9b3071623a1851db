"""How long an answer may become: the one rule that chat, rollouts, checks, gate and suites go by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lm.settings import Sampling

SHARE = 0.5  # of the context that an answer may take; the rest is the conversation's
MOST = 4096  # tokens; a model with a longer context gives longer answers only where a request asks for them
LEAST = 64  # tokens that a policy in training always has: a new style may be longer than what was rated
COMMON = 0.95  # share of the rated answers that must fit
ROOM = 1.25  # times the length that so many fit in: sampling at temperature 1 rambles more than what people saw
STEP = 16  # lengths come in multiples of it


def longest_answer(context: int, rated: Sequence[int] | None = None) -> int:
    """The longest answer, in tokens.

    A chat gives half of the context. A training gives what the answers that people rated need, and no more than the
    longest of them had: its reward knows nothing of longer ones, and an answer that is cut says little about the one
    that people would have seen.

    Args:
        context: tokens of prompt and answer together.
        rated: lengths of the answers that were rated; None or empty where there are none to go by.
    """
    most = max(1, min(int(context * SHARE), MOST))
    if not rated:
        return most
    ordered = sorted(rated)
    common = ordered[math.ceil(COMMON * len(ordered)) - 1]
    needed = min(common * ROOM, ordered[-1])
    return min(most, max(LEAST, math.ceil(needed / STEP) * STEP))


def answer_limit(sampling: Sampling, context: int) -> int:
    """The longest answer, in tokens, that `sampling` asks for; where it does not say, what the context gives."""
    return sampling.max_tokens if sampling.max_tokens is not None else longest_answer(context)
