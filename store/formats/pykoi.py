"""pykoi's SQLite database: tables `question_answer` (vote_status up, down or n/a) and `ranking` (up_ranking_answer over
low_ranking_answer).

https://github.com/CambioML/pykoi-rlhf-finetuned-transformers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.formats.columns import unknown
from store.formats.rows import BadRow, LeftOut, Parsed, ParsedThumb, answered, pair, text_at

NAME = "pykoi"
COLUMNS = frozenset({"question", "answer", "vote_status", "up_ranking_answer", "low_ranking_answer"})
VOTES = {"up": True, "down": False}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row looks like one of these."""
    return {"question", "answer", "vote_status"} <= row.keys() or {"question", "up_ranking_answer"} <= row.keys()


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they said something of the answers, and are not read; of another table, none."""
    return unknown(row, COLUMNS) if matches(row) else []


def parse(row: Mapping[str, Any]) -> list[Parsed]:
    """Read a row; BadRow says what is wrong with it, LeftOut that it holds no vote."""
    if not matches(row):
        raise LeftOut("its table holds no votes")
    question = {"role": "user", "content": text_at(row, "question")}
    if "up_ranking_answer" in row:
        good, bad = (text_at(row, f"{rank}_ranking_answer") for rank in ("up", "low"))
        sides = [[question, {"role": "assistant", "content": text}] for text in (good, bad)]
        return [pair(*sides)]
    vote = row["vote_status"]
    if vote is None or vote == "n/a":
        raise LeftOut("nobody voted on it")
    if not isinstance(vote, str) or vote not in VOTES:
        raise BadRow("vote_status is none of up, down, n/a")
    prompt, completion = answered([question, {"role": "assistant", "content": text_at(row, "answer")}], "answer")
    return [ParsedThumb(prompt, completion, VOTES[vote])]
