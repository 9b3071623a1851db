"""What becomes of an update when one of its steps fails.

| the error | for example | the same would come again? | the update |
|---|---|---|---|
| the run was ended from outside | SIGKILL, Ctrl+C, power; a training's process killed | no | stays open |
| memory | out of memory, on the processor or the GPU | no | stays open |
| files and connections | disk full, a lost network drive | no | stays open |
| database | busy, full, out of reach | no | stays open |
| server that answers rollouts | gone, full, late | no | stays open |
| any other `Problem` | what the data or the settings make impossible | yes | ends as `failed` |
| any other error | unhandled | unknown | stays open; ends as `failed` if its step meets the same kind again |

An update that stays open goes on where it stopped, with the data and settings that it began with; one that ended leaves
the way free for a new one with what is in the store and the settings then. `ratchet update --discard` ends an open one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from sqlalchemy.exc import InterfaceError, OperationalError

from lm.line import Late, QueueFull, Unavailable
from problems import Problem
from store.database import StoreUnavailable

Kind = Literal["passing", "lasting", "unforeseen"]  # would it come again: no, yes, unknown

PASSING: tuple[type[BaseException], ...] = (
    MemoryError,
    torch.OutOfMemoryError,
    OSError,
    StoreUnavailable,
    OperationalError,
    InterfaceError,
    Unavailable,
    QueueFull,
    Late,
)
MISPLACED = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)  # no passing state of a disk
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # torch's words on a processor, in a RuntimeError


class TrainingEnded(Problem):
    """A training in processes of its own ended; `failure` is what one of them said before, else it was killed."""

    def __init__(self, message: str, *, hint: str, failure: Kind = "passing") -> None:
        super().__init__(message, hint=hint)
        self.failure = failure


def kind_of(error: BaseException) -> Kind:
    """Whether the same error would come again; see the table above."""
    if isinstance(error, TrainingEnded):
        return error.failure
    if isinstance(error, MISPLACED):
        return "unforeseen"
    if isinstance(error, PASSING) or not isinstance(error, Exception) or NO_MEMORY in str(error):
        return "passing"
    return "lasting" if isinstance(error, Problem) else "unforeseen"


def ends_update(error: BaseException, step: str, steps: Sequence[dict[str, Any]]) -> bool:
    """Whether an update ends by this error of a step; `steps` is what its row says of the steps so far."""
    kind = kind_of(error)
    if kind != "unforeseen":
        return kind == "lasting"
    before = next((each for each in steps if each["step"] == step and each["status"] == "failed"), None)
    return before is not None and before["detail"].get("error") == type(error).__name__
