"""Texts that hold turns in the markup of a chat template or of a transcript: read into turns, or found where they
should not be.

The one place that knows these: ChatML, Llama 3's headers, Llama 2's and Mistral's [INST], Zephyr's and Phi's <|user|>,
Gemma's <start_of_turn>, NeMo's <extra_id_1>, Human: and Assistant: of HH-RLHF, and the same behind ###.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.formats.code import without_code
from store.formats.rows import ROLES, BadRow, LeftOut, Turns, text_at, turns_at

SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "gpt": "assistant",
    "tool": "tool",
    "observation": "tool",
    "ipython": "tool",
}
NAMES = {role: role for role in ROLES}
# What ends a turn, an answer or a text in some template: no words, wherever it stands at the end of an answer.
ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "<|return|>",
    "</s>",
    "<｜end▁of▁sentence｜>",
)
STARTS = re.compile(r"\s*(?:<\|begin_of_text\|>|<bos>|<s>|<\|startoftext\|>|<｜begin▁of▁sentence｜>|<extra_id_0>)?\s*")


@dataclass(frozen=True)
class Markup:
    """A way to write turns into one text.

    Attributes:
        header: what begins a turn, with its `role`.
        special: its headers are no words that people write: one within a text is markup.
        open: the text before the first header is a turn of the user.
    """

    name: str
    header: re.Pattern[str]
    special: bool = True
    open: bool = False


MARKUPS = (
    Markup("ChatML", re.compile(r"<\|im_start\|>[ \t]*(?P<role>[a-z]+)[ \t]*(?:\n|\Z)")),
    Markup("Llama 3", re.compile(r"<\|start_header_id\|>\s*(?P<role>[a-z]+)\s*<\|end_header_id\|>")),
    Markup("Gemma", re.compile(r"<start_of_turn>(?P<role>user|model|system|developer)[ \t]*(?:\n|\Z)")),
    Markup("Zephyr", re.compile(r"<\|(?P<role>system|user|assistant)\|>")),
    Markup("NeMo", re.compile(r"<extra_id_[01]>(?P<role>System|User|Assistant)[ \t]*(?:\n|\Z)"), open=True),
    Markup("Human and Assistant", re.compile(r"(?:\A\s*|\n\n)(?P<role>Human|Assistant):"), special=False),
    Markup("### Human and ### Assistant", re.compile(r"(?:\A\s*|\n)### ?(?P<role>Human|Assistant):"), special=False),
)
INST = re.compile(r"\[INST\]|\[/INST\]")
SYS = re.compile(r"\s*<<SYS>>(?P<system>.*?)<</SYS>>", re.DOTALL)


def turns_in(text: str) -> tuple[Turns, Markup | None] | None:
    """The turns of a text that begins as one of the markups does, without the empty answer that a prompt may end in.

    None when it begins with none; the markup is None for [INST], where answers have no header.

    Raises:
        LeftOut: a turn of somebody unknown, or marks that fit no conversation.
    """
    begun = STARTS.match(text)
    start = begun.end() if begun else 0
    if text.startswith("[INST]", start):
        return _instructions(text[start:]), None
    for markup in MARKUPS:
        first = markup.header.search(text)
        if first is None:
            continue
        ahead = text[start : first.start()].strip()
        if ahead and not markup.open:
            continue
        if not markup.special and not ahead and not _both(markup, text):
            continue
        turns = _split(markup, text[start:])
        if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
            turns = turns[:-1]
        return turns, markup
    return None


def said_at(row: Mapping[str, Any], key: str, role: str, names: Mapping[str, str] = NAMES) -> Turns:
    """What a column says: a list of turns, or a text, which may be a transcript, else is one turn of this role.

    Raises:
        BadRow, LeftOut: as `turns_at`, `text_at` and `turns_in` do.
    """
    if isinstance(row.get(key), list):
        return turns_at(row, key, names=names)
    text = text_at(row, key)
    found = turns_in(text)
    return [{"role": role, "content": text}] if found is None else found[0]


def answer_at(row: Mapping[str, Any], key: str, prompt: str | None) -> Turns:
    """The turns of an answer's column: as `said_at`; where `prompt` is a transcript, read as how that one goes on."""
    found = turns_in(prompt) if prompt is not None and isinstance(row.get(key), str) else None
    if found is None:
        return said_at(row, key, "assistant")
    text, markup = text_at(row, key), found[1]
    if markup is not None and (first := markup.header.search(text)) is not None:
        if SPEAKERS[first["role"].casefold()] == "assistant" and not text[: first.start()].strip():
            return _split(markup, text)
        # It begins as an answer, and goes on with further turns.
        answer = {"role": "assistant", "content": _plain(text[: first.start()])}
        return [answer, *_split(markup, text[first.start() :])]
    return [{"role": "assistant", "content": _plain(text)}]


def without_ends(text: str) -> str:
    """An answer without a template's marks at its end."""
    while (bare := text.rstrip()).endswith(ENDS):
        text = next(bare.removesuffix(end) for end in ENDS if bare.endswith(end))
    return text


def marked(text: str, answer: bool) -> str | None:
    """The name of the markup that stands in a text outside of code, where there should be none.

    `answer`: the text is the model's; then Human: and Assistant: that follow each other in it are turns too.
    """
    if not any(sign in text for sign in ("<|", "<start_of", "<extra_id", "INST]", "Human:")):
        return None
    text = without_code(text)
    if INST.search(text):
        return "[INST]"
    for markup in MARKUPS:
        if markup.header.search(text) and (markup.special or (answer and _both(markup, text))):
            return markup.name
    return None


def _both(markup: Markup, text: str) -> bool:
    return {found["role"] for found in markup.header.finditer(text)} == {"Human", "Assistant"}


def _split(markup: Markup, text: str) -> Turns:
    headers = list(markup.header.finditer(text))
    ahead = _plain(text[: headers[0].start()])
    turns: Turns = [{"role": "user", "content": ahead}] if ahead else []
    for place, found in enumerate(headers):
        end = headers[place + 1].start() if place + 1 < len(headers) else len(text)
        speaker = SPEAKERS.get(found["role"].casefold())
        if speaker is None:
            raise LeftOut(f"it is a transcript with a turn of {found['role'][:40]!r}")
        content = _plain(text[found.end() : end])
        if speaker == "system" and not content:
            continue
        turns.append({"role": speaker, "content": content})
    return turns


def _instructions(text: str) -> Turns:
    """Turns in the way of Llama 2 and Mistral: [INST] question [/INST] answer</s>."""
    turns: Turns = []
    for piece in text.split("[INST]")[1:]:
        question, closed, answer = piece.partition("[/INST]")
        if not closed or "[/INST]" in answer:
            raise LeftOut("it is a transcript whose [INST] and [/INST] do not match")
        system = SYS.match(question)
        if system is not None and not turns:
            turns.append({"role": "system", "content": system["system"].strip()})
            question = question[system.end() :]
        turns.append({"role": "user", "content": question.strip()})
        if _plain(answer):
            turns.append({"role": "assistant", "content": _plain(re.sub(r"<s>\s*\Z", "", answer))})
    return turns


def _plain(text: str) -> str:
    return without_ends(text).strip()


def prompt_at(row: Mapping[str, Any], key: str) -> Turns:
    """The turns of a prompt's column, as `said_at`; they end where an answer is due.

    Raises:
        LeftOut: a transcript that ends within an answer.
    """
    turns = said_at(row, key, "user")
    if isinstance(row[key], str) and turns and turns[-1]["role"] == "assistant":
        raise LeftOut(f"{key} ends within an answer")
    if isinstance(row[key], str) and not turns:
        raise BadRow(f"{key} is empty")
    return turns
