"""FastChat's votes, in both shapes.

The server's log: {tstamp, type: leftvote, rightvote, tievote, bothbad_vote, upvote or downvote, states or state}, where
a state holds {system_message?, messages: [[role, text]], offset?}; a text with pictures is [text, [pictures]]. The
cleaned one: {conversation_a, conversation_b, winner: model_a, model_b, tie, tie (bothbad) or both_bad}, as LMArena's
sets of 33,000 and of 140,000 votes have it. https://github.com/lm-sys/FastChat/blob/main/docs/dataset_release.md
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
    ParsedDraw,
    ParsedPair,
    ParsedThumb,
    Turns,
    answered,
    list_at,
    object_at,
    text_at,
    turns_at,
)

NAME = "fastchat"
NAMES = {role: role for role in ROLES}
PAIRS = {"leftvote": "left", "rightvote": "right", "tievote": "tie", "bothbad_vote": "both_bad"}
THUMBS = {"upvote": True, "downvote": False}
WINNERS = {
    "model_a": "left",
    "model_b": "right",
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
}
# The models' metadata repeats the conversations.
CLEANED = frozenset({"conversation_a", "conversation_b", "winner", "judge", "full_conversation", "conv_metadata"})
LOGGED = frozenset({"type", "states", "state"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    logged = "tstamp" in row and "type" in row
    return logged or {"conversation_a", "conversation_b", "winner"} <= row.keys()


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read."""
    return unknown(row, CLEANED if "winner" in row else LOGGED)


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that it is no vote on answers to one prompt."""
    if "winner" in row:
        winner = text_at(row, "winner")
        if winner not in WINNERS:
            raise BadRow(f"winner {winner[:40]!r} is none of {', '.join(WINNERS)}")
        one, other = (turns_at(row, key, names=NAMES) for key in ("conversation_a", "conversation_b"))
        judge = row.get("judge")
        return [_vote(one, other, WINNERS[winner], judge if isinstance(judge, str) else None)]
    kind = text_at(row, "type")
    if kind in THUMBS:
        prompt, completion = answered(_state(object_at(row, "state")), "state")
        return [ParsedThumb(prompt, completion, THUMBS[kind])]
    if kind not in PAIRS:
        raise LeftOut(f"{kind[:40]!r} is no vote")
    states = list_at(row, "states")
    if len(states) != 2:
        raise BadRow(f"states are {len(states)}, not two")
    left, right = (_state(object_at({"state": state}, "state")) for state in states)
    return [_vote(left, right, PAIRS[kind])]


def _vote(left: Turns, right: Turns, verdict: str, judge: str | None = None) -> Parsed:
    prompt, one = answered(left, "the first conversation")
    other_prompt, other = answered(right, "the second conversation")
    if prompt != other_prompt:
        raise LeftOut("the two conversations differ before their last answers: the vote is on no single prompt")
    if one == other:
        raise LeftOut("both answers are the same")
    if verdict in ("tie", "both_bad"):
        return ParsedDraw(prompt, one, other, verdict, judge)
    better, worse = (one, other) if verdict == "left" else (other, one)
    return ParsedPair(prompt, better, worse, judge)


def _state(state: Mapping[str, Any]) -> Turns:
    offset = state.get("offset") or 0
    if not isinstance(offset, int) or offset < 0:
        raise BadRow("offset is no number of messages")
    turns: Turns = []
    instructions = text_at(state, "system_message") if state.get("system_message") else ""
    if instructions.strip():
        turns.append({"role": "system", "content": instructions})
    # The first messages are examples of the template; then person and model take turns, whatever they are called.
    for place, message in enumerate(list_at(state, "messages")[offset:]):
        if not isinstance(message, list | tuple) or len(message) != 2:
            raise BadRow(f"messages[{place}] is no [role, text]")
        if message[1] is None:
            raise LeftOut("an answer was not finished")
        text = message[1]
        if isinstance(text, list | tuple) and len(text) > 1:
            if text[1]:
                raise LeftOut("it comes with images")
            text = text[0]
        turns.append({"role": ("user", "assistant")[place % 2], "content": text_at({"text": text}, "text")})
    return turns
