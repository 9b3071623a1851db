"""An answer's text apart: what the model thought, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm.loading import Base


@dataclass(frozen=True)
class Marks:
    """The texts around a model's thinking."""

    begin: str
    end: str


def thinking_marks(base: Base, thinking: bool | None = None) -> Marks | None:
    """The marks that the base's chat template names; None for a model that does not think aloud."""
    template = str(base.tokenizer.chat_template or "")
    return Marks("<think>", "</think>") if "</think>" in template else None


class Thinking:
    """Splits a text as it comes."""

    def __init__(self, marks: Marks | None) -> None:
        self._marks, self._held, self._inside = marks, "", False

    def push(self, text: str) -> tuple[str, str]:
        """What is certain after this piece: (thinking, content)."""
        if self._marks is None:
            return "", text
        self._held += text
        out = ["", ""]
        while True:
            mark = self._marks.end if self._inside else self._marks.begin
            before, found, after = self._held.partition(mark)
            if not found:
                keep = next((n for n in range(len(mark) - 1, 0, -1) if self._held.endswith(mark[:n])), 0)
                certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
                out[0 if self._inside else 1] += certain
                return out[0], out[1]
            out[0 if self._inside else 1] += before
            self._held, self._inside = after, not self._inside

    def finish(self) -> tuple[str, str]:
        """What was held back."""
        held, self._held = self._held, ""
        return (held, "") if self._inside else ("", held)


def split(marks: Marks | None, text: str) -> tuple[str, str]:
    """Thinking and content of a whole answer."""
    whole = Thinking(marks)
    first, last = whole.push(text), whole.finish()
    return first[0] + last[0], first[1] + last[1]
