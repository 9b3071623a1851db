"""Which errors end an update, and which leave it open to go on."""

from __future__ import annotations

import errno

import pytest
import torch

from lm.line import QueueFull
from problems import Problem
from rl.failures import Kind, TrainingEnded, ends_update, kind_of
from store.database import StoreUnavailable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt(), "passing"),
        (MemoryError(), "passing"),
        (torch.OutOfMemoryError("CUDA out of memory"), "passing"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 GB"), "passing"),
        (OSError(errno.ENOSPC, "No space left on device"), "passing"),
        (ConnectionError("gone"), "passing"),
        (StoreUnavailable("busy"), "passing"),
        (QueueFull("full", 1), "passing"),
        (TrainingEnded("killed", hint=""), "passing"),
        (TrainingEnded("a worker's KeyError", hint="", failure="unforeseen"), "unforeseen"),
        (Problem("needs at least 8"), "lasting"),
        (KeyError("dataset"), "unforeseen"),
        (FileNotFoundError("adapter"), "unforeseen"),
    ],
)
def test_what_would_come_again_is_told_from_what_would_not(error: BaseException, kind: Kind) -> None:
    assert kind_of(error) == kind


def test_an_unhandled_exception_ends_an_update_the_second_time() -> None:
    once = [{"step": "train", "status": "failed", "detail": {"error": "KeyError"}}]
    assert not ends_update(KeyError("a"), "train", [])
    assert ends_update(KeyError("b"), "train", once)
    assert not ends_update(KeyError("b"), "gate", once)
    assert not ends_update(ValueError("b"), "train", once)
    assert not ends_update(OSError(errno.ENOSPC, "full"), "train", once)
