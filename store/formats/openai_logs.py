"""Logs of requests to a chat completions API: {request, response, timestamp?, ...}, both payloads as they were sent.

They hold no opinions: each answer becomes a conversation, a request without an answer a prompt.
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import (
    ROLES,
    BadRow,
    LeftOut,
    Parsed,
    ParsedAnswer,
    Turns,
    answered,
    object_at,
    turn_of,
    turns_at,
)

NAME = "openai-logs"
COLUMNS = frozenset({"request", "response"})
NAMES = {role: role for role in ROLES} | {"developer": "system"}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    request = row.get("request")
    return isinstance(request, Mapping) and "messages" in request


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, COLUMNS)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that it holds no words to learn from."""
    request = object_at(row, "request")
    messages = request.get("messages")
    if isinstance(messages, list) and any(isinstance(each, Mapping) and each.get("tool_calls") for each in messages):
        raise LeftOut("it calls tools")
    prompt = turns_at(request, "messages", names=NAMES)
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        raise LeftOut("request.messages does not end with a turn to answer")
    answers = _answers(row, prompt)
    if answers:
        return answers
    if prompt[-1]["role"] != "user" or not prompt[-1]["content"].strip():
        raise LeftOut("it holds no question and no answer")
    return [ParsedAnswer(prompt, None)]


def _answers(row: Mapping[str, Any], prompt: Turns) -> list[Parsed]:
    response = row.get("response")
    choices = response.get("choices") if isinstance(response, Mapping) else None
    if choices is None:
        return []
    if not isinstance(choices, list):
        raise BadRow("response.choices is no list")
    found: list[Parsed] = []
    for place, choice in enumerate(choices):
        if not isinstance(choice, Mapping):
            raise BadRow(f"response.choices[{place}] is no object")
        message = object_at(choice, "message")
        if message.get("content") in (None, "") or message.get("tool_calls"):
            continue  # a call of a tool, or a refusal
        turn = turn_of(message, f"response.choices[{place}].message", "role", "content", NAMES)
        found.append(ParsedAnswer(*answered([*prompt, turn], f"response.choices[{place}]")))
    return found
