"""Argilla's records: the fields by name and, for each question, what people answered.

Argilla 2 writes `<question>.responses`, `.responses.users` and `.responses.status`; Argilla 1, on the hub, a list of
{user_id, value, status} in the question's own column, beside `<question>-suggestion`. Only submitted responses count;
suggestions are the machine's own.

Fields are free in Argilla; these names are read. Prompt: prompt, instruction, question, input, messages, conversation,
chat. Answer: response, answer, completion, output, generation; several of them with a number or letter at the end are
compared, by a ranking or by the name of the better one. What a response on one answer says: see `argilla_answers`.
https://docs.argilla.io/latest/how_to_guides/import_export/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from store.formats.argilla_answers import opinions_of
from store.formats.columns import SYSTEMS, unknown, used
from store.formats.rows import (
    BadRow,
    LeftOut,
    Lost,
    Parsed,
    ParsedAnswer,
    ParsedDraw,
    ParsedPair,
    Turns,
    answered,
    list_at,
    system_at,
    text_at,
)
from store.formats.transcripts import prompt_at

NAME = "argilla"
PROMPTS = ("prompt", "instruction", "question", "input", "messages", "conversation", "chat")
ANSWER = re.compile(r"(response|answer|completion|output|generation|reply)[-_ ]?([0-9]|[a-d])?", re.IGNORECASE)
ENDINGS = (
    ".responses",
    ".responses.users",
    ".responses.status",
    ".suggestion",
    ".suggestion.score",
    ".suggestion.agent",
)
HUB = ("-suggestion", "-suggestion-metadata")


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return any(key.endswith(".responses") or _hub(value) for key, value in row.items())


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    known = {used(row, PROMPTS), used(row, SYSTEMS), *_answers(row)}
    known |= {key for key, value in row.items() if key.endswith((*ENDINGS, *HUB)) or _hub(value)}
    return unknown(row, known)


def parse(row: Mapping[str, Any]) -> list[Parsed | Lost]:
    """Read a row; BadRow says what is wrong with it, LeftOut that nobody has submitted an opinion."""
    people = _submitted(_flattened(row))
    if not people:
        raise LeftOut("nobody has submitted a response to it")
    key = used(row, PROMPTS)
    if key is None:
        raise BadRow(f"no field is a prompt, named {', '.join(PROMPTS)}")
    prompt = system_at(row, prompt_at(row, key), *SYSTEMS)
    answers = {key: text_at(row, key) for key in _answers(row)}
    if not answers:
        raise BadRow("no field is an answer, named response, answer, completion, output or generation")
    texts = {key: answered([*prompt, {"role": "assistant", "content": text}], key)[1] for key, text in answers.items()}
    found: list[Parsed | Lost] = []
    for user, responses in people:
        try:
            if len(texts) == 1:
                opinions, lost = opinions_of(responses)
                found += map(Lost, lost)
                found += [ParsedAnswer(prompt, text, opinions, person=user) for text in texts.values() if opinions]
            else:
                for value in responses.values():
                    found += [replace(each, person=user) for each in _compared(prompt, texts, value)]
        except LeftOut as left:
            found.append(Lost(str(left)))
    if not found:
        raise LeftOut("its responses are no opinion on its answers")
    return found


def _answers(row: Mapping[str, Any]) -> list[str]:
    return [key for key in row if ANSWER.fullmatch(key) and isinstance(row[key], str)]


def _hub(value: Any) -> bool:
    """Whether a column holds a question's responses as Argilla 1 writes them: objects, or an object of lists."""
    if isinstance(value, Mapping):
        return value.keys() >= {"user_id", "value", "status"} and isinstance(value["value"], list)
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, Mapping) and each.keys() >= {"user_id", "value", "status"} for each in value)
    )


def _flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with Argilla 1's responses in Argilla 2's columns."""
    flat = dict(row)
    for key, value in row.items():
        if _hub(value):
            columns = ((".responses", "value"), (".responses.users", "user_id"), (".responses.status", "status"))
            for ending, name in columns:
                told = value[name] if isinstance(value, Mapping) else [each[name] for each in value]
                flat[f"{key}{ending}"] = told
    return flat


def _submitted(row: Mapping[str, Any]) -> list[tuple[str | None, dict[str, Any]]]:
    """Each person, in the order met, with their submitted value by question; None: the file does not say who."""
    people: dict[tuple[str | None, int], dict[str, Any]] = {}
    for key in row:
        if not key.endswith(".responses") or row[key] is None:
            continue
        values = list_at(row, key)
        users, status = (_beside(row, f"{key}.{name}", len(values)) for name in ("users", "status"))
        for place, value in enumerate(values):
            if status[place] in (None, "submitted") and value is not None:
                who = (str(users[place]), 0) if users[place] else (None, place)
                people.setdefault(who, {})[key.removesuffix(".responses")] = value
    return [(user, told) for (user, _), told in people.items()]


def _beside(row: Mapping[str, Any], key: str, number: int) -> list[Any]:
    if row.get(key) is None:
        return [None] * number
    values = list_at(row, key)
    if len(values) != number:
        raise BadRow(f"{key} has {len(values)} entries for {number} responses")
    return values


def _compared(prompt: Turns, texts: dict[str, str], value: Any) -> list[Parsed]:
    """Pairs from a ranking or, of two answers, from the name of the better one or `tie`.

    A ranking is a list of {value, rank}, rank 1 the best, or of names, the best first. Answers that it leaves out are
    worse than those that it names, and are not compared with each other.
    """
    found: list[Parsed] = []
    if isinstance(value, list) and value and (ranks := _ranks(texts, value)):
        for (one, rank), (other, other_rank) in combinations(ranks.items(), 2):
            if rank is not None or other_rank is not None:
                worst = len(texts) + max(each for each in ranks.values() if each is not None)
                by = (worst if other_rank is None else other_rank) - (worst if rank is None else rank)
                found += _judged(prompt, texts[one], texts[other], by)
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


def _ranks(texts: dict[str, str], value: list[Any]) -> dict[str, int | None]:
    """The rank of each answer that a ranking names, then None for the others; nothing when it is a list of labels."""
    ranks: dict[str, int | None] = {}
    if all(isinstance(each, str) and _named(texts, each) is None for each in value):
        return ranks
    for place, each in enumerate(value):
        label, rank = (each.get("value"), each.get("rank")) if isinstance(each, Mapping) else (each, place)
        name = _named(texts, label)
        if name is None or not isinstance(rank, int) or isinstance(rank, bool) or name in ranks:
            raise LeftOut("a ranking names no answer of the record, one twice, or no rank")
        ranks[name] = rank
    return ranks | {name: None for name in texts if name not in ranks}


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
