"""What a user is told when something cannot be done: what, where and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Problem(Exception):
    """A failure that the user can understand and mend; shown without a traceback.

    Args:
        message: what went wrong and where, one sentence.
        hint: what to do about it, one sentence; may be empty.
        status: exit status of the command that ends with it (1 failed, 2 wrong usage, 3 nothing to do).
        data: what `--json` tells beside the error and the hint.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 1, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status
        self.data = dict(data or {})
