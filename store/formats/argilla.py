"""Argilla's records, flattened: the fields by name and, for each question, `<question>.responses`, `.responses.users`
and `.responses.status`. Only submitted responses count; suggestions are the machine's own.

Fields are free in Argilla; these names are read. Prompt: prompt, instruction, question, input, messages, conversation,
chat. Answer: response, answer, completion, output, generation; several of them with a number or letter at the end are
compared, by a ranking or by the name of the better one. What a response on one answer says: see `argilla_answers`.
https://docs.argilla.io/latest/how_to_guides/import_export/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from store.formats.argilla_answers import opinions_of
from store.formats.rows import (
    ROLES,
    BadRow,
    LeftOut,
    Parsed,
    ParsedAnswer,
    ParsedDraw,
    ParsedPair,
    Turns,
    answered,
    list_at,
    text_at,
    turns_at,
)

NAME = "argilla"
PROMPTS = ("prompt", "instruction", "question", "input", "messages", "conversation", "chat")
ANSWER = re.compile(r"(response|answer|completion|output|generation|reply)[-_ ]?([0-9]|[a-d])?", re.IGNORECASE)
NAMES = {role: role for role in ROLES}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return any(key.endswith(".responses") for key in row)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nobody has submitted an opinion."""
    people = _submitted(row)
    if not people:
        raise LeftOut("nobody has submitted a response to it")
    prompt = _prompt(row)
    answers = {key: text_at(row, key) for key in row if ANSWER.fullmatch(key) and isinstance(row[key], str)}
    if not answers:
        raise BadRow("no field is an answer, named response, answer, completion, output or generation")
    texts = {key: answered([*prompt, {"role": "assistant", "content": text}], key)[1] for key, text in answers.items()}
    found: list[Parsed] = []
    for responses in people:
        if len(texts) == 1:
            opinions = opinions_of(responses)
            found += [ParsedAnswer(prompt, text, opinions) for text in texts.values() if opinions]
        else:
            for value in responses.values():
                found += _compared(prompt, texts, value)
    if not found:
        raise LeftOut("its responses are no opinion on its answers")
    return found


def _submitted(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each person, in the order met, their submitted value by question."""
    people: dict[str, dict[str, Any]] = {}
    for key in row:
        if not key.endswith(".responses") or row[key] is None:
            continue
        values = list_at(row, key)
        users, status = (_beside(row, f"{key}.{name}", len(values)) for name in ("users", "status"))
        for place, value in enumerate(values):
            if status[place] in (None, "submitted") and value is not None:
                user = str(place) if users[place] is None else str(users[place])
                people.setdefault(user, {})[key.removesuffix(".responses")] = value
    return list(people.values())


def _beside(row: Mapping[str, Any], key: str, number: int) -> list[Any]:
    if row.get(key) is None:
        return [None] * number
    values = list_at(row, key)
    if len(values) != number:
        raise BadRow(f"{key} has {len(values)} entries for {number} responses")
    return values


def _prompt(row: Mapping[str, Any]) -> Turns:
    key = next((name for name in PROMPTS if row.get(name) is not None), None)
    if key is None:
        raise BadRow(f"no field is a prompt, named {', '.join(PROMPTS)}")
    if isinstance(row[key], list):
        return turns_at(row, key, names=NAMES)
    return [{"role": "user", "content": text_at(row, key)}]


def _compared(prompt: Turns, texts: dict[str, str], value: Any) -> list[Parsed]:
    """Pairs from a ranking [{value, rank}] or, of two answers, from the name of the better one or `tie`."""
    found: list[Parsed] = []
    if isinstance(value, list) and value and all(isinstance(each, Mapping) and "rank" in each for each in value):
        ranks = [(_named(texts, each.get("value")), each["rank"]) for each in value]
        for (one, rank), (other, other_rank) in combinations(ranks, 2):
            if one is None or other is None or not isinstance(rank, int) or not isinstance(other_rank, int):
                raise BadRow("a ranking names no answer of the record, or no rank")
            found += _judged(prompt, texts[one], texts[other], other_rank - rank)
    elif isinstance(value, str) and len(texts) == 2:
        one, other = texts
        better = _named(texts, value)
        if better is not None:
            found += _judged(prompt, texts[one], texts[other], 1 if better == one else -1)
        elif value.strip().casefold() in ("tie", "both", "equal", "same"):
            found += _judged(prompt, texts[one], texts[other], 0)
        elif value.strip().casefold().replace("_", " ") in ("both bad", "neither", "none"):
            found.append(ParsedDraw(prompt, texts[one], texts[other], "both_bad"))
    return found


def _named(texts: dict[str, str], value: Any) -> str | None:
    """The answer that a label names: by its field's name, whatever joins name and number, or by the number alone."""
    if not isinstance(value, str):
        return None

    def plain(text: str) -> str:
        return re.sub(r"[-_ ]", "", text).casefold()

    ends = {plain(key): key for key in texts} | {(ANSWER.fullmatch(key) or [""] * 3)[2] or "": key for key in texts}
    return ends.get(plain(value)) if value.strip() else None


def _judged(prompt: Turns, one: str, other: str, better: int) -> list[Parsed]:
    if one == other:
        return []
    if better == 0:
        return [ParsedDraw(prompt, one, other, "tie")]
    return [ParsedPair(prompt, one, other) if better > 0 else ParsedPair(prompt, other, one)]
