"""Columns that look as if they said something of an answer: a format may not take a row and leave such a one unread.

A column is told by the words in its name. Of a set of which nothing is known, too little would be learned in silence
otherwise: an answer without its vote, a question without the system message that explains it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_SAID = (
    "answer answers response responses reply replies completion completions output outputs generation "
    "generations generated candidate candidates continuation continuations chosen rejected accepted reference "
    "references target solution prompt prompts question questions query instruction instructions input inputs "
    "context history message messages conversation conversations dialog dialogue dialogues transcript chat "
    "system persona preprompt text texts label labels labelled labeled score scores scored reward rewards "
    "stars grade grades margin strength quality helpfulness helpful harmlessness harmless honesty honest "
    "truthfulness correctness correct coherence complexity verbosity safe safety safer toxic toxicity overall "
    "approved annotation annotations correction corrected corrections comment comments edited revision revised"
)
SAID = frozenset(_SAID.split())
# A name with one of these says something about a column, not of an answer: response_tokens, chosen_model.
_ABOUT = (
    "id ids model models source sources length lengths len tokens token count counts num number total type "
    "types category categories lang language url time timestamp date created updated hash name index version"
)
ABOUT = frozenset(_ABOUT.split())
# A vote is one whatever else stands in the name: winner_model_a, user_rating, best_id.
_VOTES = (
    "vote votes voted upvote upvotes downvote downvotes thumb thumbs like likes liked dislike dislikes "
    "disliked preference preferences preferred prefers winner winners win wins loser better best worse worst "
    "choice choices verdict judgement judgment judgements judgments decision feedback opinion critique rank "
    "ranks ranked ranking rankings rating ratings rated"
)
VOTES = frozenset(_VOTES.split())
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")


# What data sets call the column of a system message.
SYSTEMS = ("system", "system_prompt", "system_message")


def used(row: Mapping[str, Any], names: Collection[str]) -> str | None:
    """The first of these columns that says something, which is the one that is read."""
    return next((name for name in names if _holds(row.get(name))), None)


def unknown(row: Mapping[str, Any], known: Collection[str | None]) -> list[str]:
    """The columns that are not known, hold something, and look like an answer, an opinion or what was answered."""
    return [str(key) for key, value in row.items() if key not in known and _holds(value) and _tells(str(key), value)]


def named(columns: list[str]) -> str:
    """The columns in a sentence."""
    told = ", ".join(f"{column[:60]!r}" for column in columns[:8]) + (", ..." if len(columns) > 8 else "")
    return f"{'columns' if len(columns) > 1 else 'column'} {told}"


def _holds(value: Any) -> bool:
    return value is not None and value != "" and value != [] and value != {}


def _tells(name: str, value: Any) -> bool:
    words = {word.casefold() for word in WORD.findall(name)}
    if words & VOTES:
        return True
    return not words & ABOUT and bool(words & SAID or _turns(value))


def _turns(value: Any) -> bool:
    """Whether it is a conversation, whatever its column is called."""
    return isinstance(value, list) and any(
        isinstance(each, Mapping) and ("role" in each or "from" in each) and ("content" in each or "value" in each)
        for each in value
    )
