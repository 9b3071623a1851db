"""What has been seen before, however much: digests in a private database on disk, so that memory stays as it is."""

from __future__ import annotations

import hashlib
import sqlite3


class Seen:
    """Texts seen so far. Two texts count as one when the first 16 bytes of their sha256 are equal, that is never."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a nameless file, which goes when it is closed
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, text: str) -> bool:
        """Remember `text`; whether it is new."""
        digest = hashlib.sha256(text.encode()).digest()[:16]
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
