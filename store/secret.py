"""A secret of a home, made when it is first asked for: what a server signs with, so that it knows its own again."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

FILE = "server.secret"
BYTES = 32


def secret_of(home: Path) -> bytes:
    """The home's secret. It is in no backup: what was signed with it is then not known again, and made anew."""
    place = home / FILE
    if not place.exists():
        draft = place.with_name(f".{FILE}.{secrets.token_hex(4)}.tmp")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another server of this home was faster
            place.hardlink_to(draft)
        draft.unlink()
    return place.read_bytes()
