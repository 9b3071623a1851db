"""What a row of a feedback file says, in the store's words, and what is wrong with it otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from problems import Problem
from store.checks import check_text
from store.formats.columns import named, unknown
from store.formats.spoken import THOUGHTS

Turns = list[dict[str, str]]
ROLES = ("system", "user", "assistant", "tool")
# Columns of data sets that hold what is no text.
BEYOND_WORDS = ("tools", "image", "images", "video", "videos", "audio", "audios")
# What programs write beside a turn's words that neither answers nor judges.
BESIDE = ("annotations", "reasoning_content", "model", "name", "refusal")

Opinions = tuple[tuple[str, Any], ...]


class BadRow(Exception):
    """A row that cannot be read; its text says why, without the place, which the reader of the file knows."""


class LeftOut(Exception):
    """A row from which nothing can be learned: nobody voted, the answer failed, a picture belongs to it; its text says
    why. Such a row is skipped and counted, and never refuses a file.
    """


@dataclass(frozen=True)
class ParsedPair:
    """`chosen` was preferred to `rejected` as the answer to the turns in `prompt`."""

    prompt: Turns
    chosen: str
    rejected: str
    person: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ParsedThumb:
    """`completion`, the answer to the turns in `prompt`, was liked (`label`) or not."""

    prompt: Turns
    completion: str
    label: bool
    person: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ParsedDraw:
    """Two answers to the turns in `prompt` of which neither was preferred; `verdict` is tie or both_bad."""

    prompt: Turns
    left: str
    right: str
    verdict: str
    person: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ParsedAnswer:
    """`completion`, an answer to the turns in `prompt`, with all that one person said of it: (kind, value) in the
    store's kinds, each kind once, none for an answer that nobody judged. None in its place: the prompt has no answer.

    `question` names the turn that was answered, within the file: a thumb up and a thumb down on two answers to one
    question are a preference too. It is no part of what the row says, so it does not make a row a different one.
    """

    prompt: Turns
    completion: str | None
    opinions: Opinions = ()
    question: str | None = field(default=None, compare=False)
    person: str | None = field(default=None, compare=False)


# `person` of each is who gave the opinion, by the file's own id, where it has one: no part of what the row says either.
Parsed = ParsedPair | ParsedThumb | ParsedDraw | ParsedAnswer


@dataclass(frozen=True)
class Lost:
    """One opinion of a row that says several, of which nothing can be kept, and why."""

    reason: str


def pair(chosen: Turns, rejected: Turns) -> ParsedPair:
    """A pair from two whole conversations that differ in their last turn, an answer each.

    Raises:
        LeftOut: an empty conversation or answer, another last role, equal answers, or earlier turns that differ.
    """
    prompt, good = answered(chosen, "chosen")
    other_prompt, bad = answered(rejected, "rejected")
    if prompt != other_prompt:
        raise LeftOut("chosen and rejected differ before their last turn: the preference is on no single prompt")
    if good == bad:
        raise LeftOut("chosen and rejected are the same")
    return ParsedPair(prompt, good, bad)


def answered(conversation: Turns, where: str) -> tuple[Turns, str]:
    """The turns before the last one, and the last one, an answer with a text; LeftOut when it is none."""
    if not conversation or conversation[-1]["role"] != "assistant":
        raise LeftOut(f"{where} does not end with a turn of the assistant")
    if not any(turn["role"] == "user" for turn in conversation):
        raise LeftOut(f"{where} has no turn of the user before the answer")
    if not conversation[-1]["content"].strip():
        raise LeftOut(f"{where} is empty")
    return conversation[:-1], conversation[-1]["content"]


def text_at(row: Mapping[str, Any], key: str) -> str:
    """The text under `key`; BadRow when it is missing, no text or cannot be stored, LeftOut when it is null."""
    if key not in row:
        raise BadRow(f"{key} is missing")
    value = row[key]
    if value is None:
        raise LeftOut(f"{key} is null, not text")
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
        if value.get("tool_calls") or value.get("function_call"):
            raise LeftOut("it calls tools")
        if unread := unknown(value, {role, content, *BESIDE}):
            raise BadRow(f"nothing here reads its {named(unread)}")
        return {"role": names[speaker], "content": words_at(value, content)}
    except BadRow as bad:
        raise BadRow(f"{where}: {bad}") from None


def words_at(row: Mapping[str, Any], key: str) -> str:
    """The words under `key`: text, or a list of parts that are all text, as several programs write a turn.

    Raises:
        BadRow: it is missing or neither.
        LeftOut: it is null, or a part is no text (a picture, a call of a tool).
    """
    value = row.get(key)
    if not isinstance(value, list):
        return text_at(row, key)
    parts = [{"text": part} if isinstance(part, str) else part for part in value]
    if not all(isinstance(part, Mapping) for part in parts):
        raise BadRow(f"{key} is a list, not text")
    # What the model thought is no part of what it said.
    parts = [part for part in parts if not isinstance(part.get("type"), str) or part["type"] not in THOUGHTS]
    if any(part.get("text") is None for part in parts):
        raise LeftOut(f"{key} holds a part that is no text")
    return "\n".join(text_at(part, "text") for part in parts)


def system_at(row: Mapping[str, Any], turns: Turns, *names: str) -> Turns:
    """The turns behind the system message in one of these columns, unless they begin with it already.

    Raises:
        LeftOut: the turns begin with another system message.
    """
    key = next((name for name in names if row.get(name)), None)
    if key is None or not (words := text_at(row, key)).strip():
        return turns
    if turns and turns[0]["role"] == "system":
        if turns[0]["content"].strip() != words.strip():
            raise LeftOut(f"{key} differs from the system message of the conversation")
        return turns
    return [{"role": "system", "content": words}, *turns]


def check_plain(row: Mapping[str, Any]) -> None:
    """LeftOut when a picture, a sound or tools belong to a row of a data set: its words alone are too little."""
    for key in BEYOND_WORDS:
        if row.get(key):
            raise LeftOut("it calls tools" if key == "tools" else f"it comes with {key}")


def list_at(row: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`; BadRow when it is missing or no list."""
    if not isinstance(row.get(key), list):
        raise BadRow(f"{key} is {_kind(row[key])}, not a list" if key in row else f"{key} is missing")
    value: list[Any] = row[key]
    return value


def object_at(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`; BadRow when it is missing or no object."""
    if not isinstance(row.get(key), Mapping):
        raise BadRow(f"{key} is {_kind(row[key])}, not an object" if key in row else f"{key} is missing")
    value: Mapping[str, Any] = row[key]
    return value


def thumb_at(row: Mapping[str, Any], key: str) -> Opinions:
    """A thumb as programs write it, 1 or -1, a number or text; nothing for 0, null, an empty text or no such field."""
    value = row.get(key)
    if value in (None, 0, "0", "") and not isinstance(value, bool):
        return ()
    found = {"1": 1, "1.0": 1, "-1": -1, "-1.0": -1}.get(str(value)) if isinstance(value, str | int | float) else None
    if found is None or isinstance(value, bool):
        raise BadRow(f"{key} is neither 1 nor -1")
    return (("thumb", found),)


def comment_at(row: Mapping[str, Any], key: str) -> Opinions:
    """A comment; nothing for null, a blank text or no such field."""
    if row.get(key) is None:
        return ()
    text = text_at(row, key)
    return (("comment", text),) if text.strip() else ()


def tags_of(values: list[Any]) -> Opinions:
    """Tags, once each and in their order, without blank ones; nothing when none is left. BadRow on what is no text."""
    tags = list(dict.fromkeys(text_at({"tag": value}, "tag") for value in values if value is not None))
    told = [tag for tag in tags if tag.strip()]
    return (("tags", told),) if told else ()


def shown(text: str) -> str:
    """The text with halves of surrogate pairs spelled out: a file may name its fields so, and no terminal can."""
    return text.encode("utf-8", "backslashreplace").decode()


def _kind(value: Any) -> str:
    kinds = {
        type(None): "null",
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")
