"""The elements of a JSON array, one at a time: memory holds the longest element, not the array.

The text is read in pieces; an element is decoded once the piece that ends it is there. An element that goes on past the
end of what was read is tried again with twice as much, so that long ones take linear time.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

PIECE = 1 << 16  # bytes
# An error this close to the end of what was read may come from a word or an escape that was cut there.
NEAR = 16
SPACE = re.compile(r"[ \t\n\r]*")


class Text:
    """The text of a UTF-8 file, of which `read[at:]` was read and not yet used; it knows lines and columns."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.read = ""
        self.at = 0
        self.ended = False
        self._line, self._column = 1, 1
        self._decoded = 0  # bytes

    def more(self) -> None:
        """Read on, at least as much as is there already.

        Raises:
            UnicodeDecodeError: no UTF-8; its start counts from the start of the file.
        """
        self.read = self.read[self.at :]
        self.at = 0
        piece = self._file.read(max(PIECE, len(self.read)))
        waiting = len(self._decoder.getstate()[0])
        try:
            self.read += self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            error.start += self._decoded - waiting
            raise
        self._decoded += len(piece)
        self.ended = not piece

    def go(self, at: int) -> None:
        """Go on to this place in what was read."""
        lines = self.read.count("\n", self.at, at)
        self._line += lines
        self._column = at - self.read.rfind("\n", self.at, at) if lines else self._column + at - self.at
        self.at = at

    def next(self) -> str:
        """The next character that is no white space, which stays there; empty at the end of the file."""
        while True:
            space = SPACE.match(self.read, self.at)
            if space and space.end() > self.at:
                self.go(space.end())
            if self.at < len(self.read) or self.ended:
                return self.read[self.at : self.at + 1]
            self.more()

    def wrong(self, what: str, at: int | None = None) -> json.JSONDecodeError:
        """An error that says what is wrong and where in the file, here or at that place in what was read."""
        self.go(self.at if at is None else at)
        error = json.JSONDecodeError(what, "", 0)
        error.lineno, error.colno = self._line, self._column
        return error


def values(file: BinaryIO) -> Iterator[Any]:
    """Each element of the array that the file holds.

    Raises:
        json.JSONDecodeError: no such array, or the file goes on after it; with line and column in the file.
        UnicodeDecodeError: no UTF-8.
        ValueError, RecursionError: a number too long to read, nesting too deep.
    """
    text = Text(file)
    if text.next() != "[":
        raise text.wrong("Expecting value")
    text.go(text.at + 1)
    if text.next() == "]":
        text.go(text.at + 1)
    else:
        yield from _elements(text)
    if text.next():
        raise text.wrong("Extra data")


def only_value(file: BinaryIO) -> Any:
    """The one value that the file holds; raises as `values` does."""
    text = Text(file)
    text.next()
    value = _value(text)
    if text.next():
        raise text.wrong("Extra data")
    return value


def _elements(text: Text) -> Iterator[Any]:
    while True:
        if not text.next():
            raise text.wrong("Expecting value")
        yield _value(text)
        mark = text.next()
        if mark not in (",", "]") or not mark:
            raise text.wrong("Expecting ',' delimiter")
        text.go(text.at + 1)
        if mark == "]":
            return


def _value(text: Text) -> Any:
    decoder = json.JSONDecoder()
    while True:
        try:
            value, end = decoder.raw_decode(text.read, text.at)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or error.pos >= len(text.read) - NEAR
            if text.ended or not cut:
                raise text.wrong(error.msg, error.pos) from None
        else:
            # A number so close to the end may go on: 1 of 1.5, or of 1e+5.
            if end < len(text.read) - NEAR or text.ended:
                text.go(end)
                return value
        text.more()
