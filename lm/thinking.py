"""Answers that begin with the model's thinking, as in <think>why</think>because: its marks, and what is content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from lm.stops import overlap
from lm.templates import manner, render

# What no template has of its own.
_QUESTION, _REASON, _ANSWER = "Zephyrquill", "Marblewick", "Thistlemoon"
_BRACKETED = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")


@dataclass(frozen=True)
class Marks:
    """What encloses the thinking; `opened`: the prompt ends within the block, so that the answer begins in it."""

    opening: str
    closing: str
    opened: bool


_known: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, dict[bool | None, Marks | None]]] = WeakKeyDictionary()


class Spoken(Protocol):
    """A base, as far as this concept needs one."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...


def thinking_marks(base: Spoken, thinking: bool | None = None) -> Marks | None:
    """The marks of answers to a prompt encoded with this `thinking` (see `encode_chat`); None where no block exists.

    Three questions find them: how does the template write an earlier answer's reasoning; does the prompt end in an
    opening mark; and, for templates that only cut thinking off, does the tokenizer hold both marks as tokens? They are
    asked once, since every prompt wants the answer.
    """
    tokenizer = base.tokenizer
    template, found = _known.get(tokenizer, (None, {}))
    if template != tokenizer.chat_template:
        template, found = tokenizer.chat_template, {}
        _known[tokenizer] = template, found
    if thinking not in found:
        found[thinking] = _marks(tokenizer, thinking)
    return found[thinking]


def special_marks(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Text by id of special tokens that enclose thinking; a decoder that leaves special tokens out must keep them.

    Qwen3's and DeepSeek's <think> is an ordinary added token and shows in the text; other models' marks are special.
    """
    marks = _marks(tokenizer, None)
    if marks is None:
        return {}
    return {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and (token.content in marks.opening or token.content in marks.closing)
    }


class Thinking:
    """Splits one answer's text as it streams. `push` each piece, then `finish`; what they return, joined, is all."""

    def __init__(self, marks: Marks | None) -> None:
        self._marks = marks
        self._held = ""  # what may yet be a mark, or blank that belongs to neither side
        self._inside = marks is not None and marks.opened
        self._begun = marks is None  # whether the answer's first word has come, and with it what it begins as
        self._after = False  # blank lines behind the closing mark are still to be left out

    def push(self, text: str) -> tuple[str, str]:
        """Add text; returns the thinking and the content that are certain now."""
        self._held += text
        if not self._begun and not self._begin():
            return "", ""
        thinking = self._think() if self._inside else ""
        return thinking, "" if self._inside else self._write()

    def finish(self) -> tuple[str, str]:
        """The answer is over: returns what was held back, and nothing when called again."""
        held, self._held = self._held, ""
        if self._inside:
            return held.rstrip() if self._begun else held.strip(), ""
        return "", held.lstrip("\n") if self._after else held

    def _begin(self) -> bool:
        """Whether the answer's first word tells that it begins with a block, or that it does not."""
        assert self._marks is not None
        begun = self._held.lstrip()
        opening = self._marks.opening
        if len(begun) < len(opening) and opening.startswith(begun):
            return False
        if begun.startswith(opening):  # some models write the mark again that the prompt ended in
            self._inside = True
            begun = begun[len(opening) :].lstrip()
            self._held = begun
            # Blank at the block's beginning is no thought; more of it may come.
            self._marks = Marks("", self._marks.closing, True)
            if not begun:
                return False
        elif self._inside:
            self._held = begun
        self._begun = True
        return True

    def _think(self) -> str:
        assert self._marks is not None
        thought, closed, rest = self._held.partition(self._marks.closing)
        if closed:
            self._inside, self._after, self._held = False, True, rest
            return thought.rstrip()
        certain = self._held[: len(self._held) - overlap(self._held, self._marks.closing)].rstrip()
        self._held = self._held[len(certain) :]
        return certain

    def _write(self) -> str:
        if self._after:
            self._held = self._held.lstrip("\n")
            self._after = not self._held
        content, self._held = self._held, ""
        return content


def split(marks: Marks | None, text: str) -> tuple[str, str]:
    """Thinking and content of a whole answer. Blank around the thinking and empty lines behind it belong to neither.

    An answer that ends within the block is all thinking.
    """
    splitter = Thinking(marks)
    first, last = splitter.push(text), splitter.finish()
    return first[0] + last[0], first[1] + last[1]


def without_thinking(marks: Marks | None, text: str) -> str:
    """An earlier answer's content, whether or not its block was kept with it."""
    if marks is None or (marks.closing not in text and not text.lstrip().startswith(marks.opening)):
        return text
    return split(marks, text)[1]


def _marks(tokenizer: PreTrainedTokenizerBase, thinking: bool | None) -> Marks | None:
    if not tokenizer.chat_template:
        return None
    parts = manner(tokenizer).parts
    options: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
    question = {"role": "user", "content": _QUESTION}
    try:
        prompt = render(tokenizer, [question], parts, **options).rpartition(_QUESTION)[2]
        answer = {"role": "assistant", "content": _ANSWER, "reasoning_content": _REASON}
        text = render(tokenizer, [question, answer], parts, prompt=False, **options).rpartition(_QUESTION)[2]
    except TemplateError:
        return None
    before, reasons, after = text.partition(_REASON)
    between, answers, _ = after.partition(_ANSWER)
    if reasons and answers and between.strip():
        opening = before[_shared(before, prompt) :].strip() or _last_mark(before)
        return Marks(opening, between.strip(), _ends(prompt, opening)) if opening else None
    template = str(tokenizer.get_chat_template())
    opening = _last_mark(prompt)
    if opening and (closing := _closing(opening)) in template:
        return Marks(opening, closing, True)
    tokens = [token.content for token in tokenizer.added_tokens_decoder.values()]
    for opening in tokens:
        if _BRACKETED.fullmatch(opening) and "think" in opening.lower():
            closing = _closing(opening)
            if closing in tokens and closing in template:
                return Marks(opening, closing, _ends(prompt, opening))
    return None


def _last_mark(text: str) -> str:
    """The bracketed mark at the end of `text`; empty for none."""
    found = _BRACKETED.findall(text)
    return found[-1] if found and _ends(text, found[-1]) else ""


def _shared(first: str, second: str) -> int:
    """How many characters both begin with."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(first), len(second)))


def _closing(opening: str) -> str:
    return f"{opening[0]}/{opening[1:]}"


def _ends(text: str, mark: str) -> bool:
    return bool(mark) and text.rstrip().endswith(mark)
