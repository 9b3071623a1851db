"""What a row of a feedback file says, in the store's words, and what is wrong with it otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from problems import Problem
from store.checks import check_text

Turns = list[dict[str, str]]
ROLES = ("system", "user", "assistant", "tool")


class BadRow(Exception):
    """A row that cannot be read; its text says why, without the place, which the reader of the file knows."""


@dataclass(frozen=True)
class ParsedPair:
    """`chosen` was preferred to `rejected` as the answer to the turns in `prompt`."""

    prompt: Turns
    chosen: str
    rejected: str


@dataclass(frozen=True)
class ParsedThumb:
    """`completion`, the answer to the turns in `prompt`, was liked (`label`) or not."""

    prompt: Turns
    completion: str
    label: bool


Parsed = ParsedPair | ParsedThumb


def pair(chosen: Turns, rejected: Turns) -> ParsedPair:
    """A pair from two whole conversations that differ in their last turn, an answer each.

    Raises:
        BadRow: an empty conversation or answer, another last role, equal answers, or earlier turns that differ.
    """
    prompt, good = answered(chosen, "chosen")
    other_prompt, bad = answered(rejected, "rejected")
    if prompt != other_prompt:
        raise BadRow("chosen and rejected differ before their last turn")
    if good == bad:
        raise BadRow("chosen and rejected are the same")
    return ParsedPair(prompt, good, bad)


def answered(conversation: Turns, where: str) -> tuple[Turns, str]:
    """The turns before the last one, and the last one, which must be an answer with a text."""
    if not conversation or conversation[-1]["role"] != "assistant":
        raise BadRow(f"{where} does not end with a turn of the assistant")
    if not any(turn["role"] == "user" for turn in conversation):
        raise BadRow(f"{where} has no turn of the user before the answer")
    if not conversation[-1]["content"].strip():
        raise BadRow(f"{where} is empty")
    return conversation[:-1], conversation[-1]["content"]


def text_at(row: Mapping[str, Any], key: str) -> str:
    """The text under `key`; BadRow when it is missing, no text or cannot be stored."""
    if key not in row:
        raise BadRow(f"{key} is missing")
    value = row[key]
    if not isinstance(value, str):
        raise BadRow(f"{key} is {_kind(value)}, not text")
    try:
        check_text(value, key)
    except Problem as problem:
        raise BadRow(str(problem)) from None
    return value


def turns_at(
    row: Mapping[str, Any], key: str, *, role: str = "role", content: str = "content", names: Mapping[str, str]
) -> Turns:
    """The conversation under `key`, a list of turns with the file's own field names; `names` maps its roles to ours.

    Raises:
        BadRow: it is missing, no such list, or a turn has another role or no text.
    """
    if key not in row:
        raise BadRow(f"{key} is missing")
    value = row[key]
    if not isinstance(value, list):
        raise BadRow(f"{key} is {_kind(value)}, not a list of turns")
    return [turn_of(each, f"{key}[{place}]", role, content, names) for place, each in enumerate(value)]


def turn_of(value: Any, where: str, role: str, content: str, names: Mapping[str, str]) -> dict[str, str]:
    """One turn as {role, content} in our names; BadRow when it is none."""
    if not isinstance(value, Mapping):
        raise BadRow(f"{where} is {_kind(value)}, not a turn with {role} and {content}")
    try:
        speaker = text_at(value, role)
        if speaker not in names:
            raise BadRow(f"{role} {speaker!r} is none of {', '.join(names)}")
        return {"role": names[speaker], "content": text_at(value, content)}
    except BadRow as bad:
        raise BadRow(f"{where}: {bad}") from None


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
