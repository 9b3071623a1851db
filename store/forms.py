"""The forms in which feedback leaves the store: the columns of a row, in TRL's names and in LLaMA-Factory's.

LLaMA-Factory reads neither an answer that is a list of turns nor a completion apart from its prompt, so rows of those
forms are told to it in columns of its own. Sources: https://huggingface.co/docs/trl/dataset_formats and
https://llamafactory.readthedocs.io/en/latest/getting_started/data_preparation.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, Any]
# Lists of {role, content}, lists of {from, value}, one {from, value}, true or false.
Shape = Literal["turns", "sharegpt turns", "sharegpt turn", "flag"]

SHAREGPT_NAMES = {"user": "human", "assistant": "gpt", "tool": "observation"}
ROLE_TAGS = {"user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "system_tag": "system"}
SHAREGPT_TAGS = {"user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation", "system_tag": "system"}
OPENAI = {"role_tag": "role", "content_tag": "content"} | ROLE_TAGS
SHAREGPT = {"role_tag": "from", "content_tag": "value"} | SHAREGPT_TAGS


@dataclass(frozen=True)
class Factory:
    """How LLaMA-Factory reads a form.

    Attributes:
        shapes: the columns of its rows and what they hold.
        row: makes such a row of one in TRL's columns; None: those are read as they are.
        entry: what dataset_info.json says of the file, besides its name.
    """

    shapes: dict[str, Shape]
    row: Callable[[Row], Row] | None
    entry: dict[str, Any]


@dataclass(frozen=True)
class Form:
    """`says`: what a row is; `shapes`: its columns in TRL's names; `columns`: what each of them means."""

    name: str
    says: str
    shapes: dict[str, Shape]
    columns: dict[str, str]
    factory: Factory | None


def answer(text: str) -> list[dict[str, str]]:
    """An answer as TRL's conversational columns hold it."""
    return [{"role": "assistant", "content": text}]


def _sharegpt_turn(turn: Mapping[str, str]) -> dict[str, str]:
    return {"from": SHAREGPT_NAMES.get(turn["role"], turn["role"]), "value": turn["content"]}


def _sharegpt_pair(row: Row) -> Row:
    return {
        "conversations": [_sharegpt_turn(turn) for turn in row["prompt"]],
        "chosen": _sharegpt_turn(row["chosen"][0]),
        "rejected": _sharegpt_turn(row["rejected"][0]),
    }


def _labelled_messages(row: Row) -> Row:
    return {"messages": row["prompt"] + row["completion"], "label": row["label"]}


FORMS = {
    form.name: form
    for form in (
        Form(
            "preference",
            "Two answers to one prompt, of which people preferred one: side by sides, and corrections over the answer "
            "that they correct.",
            {"prompt": "turns", "chosen": "turns", "rejected": "turns"},
            {
                "prompt": "the turns that were answered, each with `role` and `content`",
                "chosen": "the preferred answer, one turn of the assistant",
                "rejected": "the other answer",
            },
            Factory(
                {"conversations": "sharegpt turns", "chosen": "sharegpt turn", "rejected": "sharegpt turn"},
                _sharegpt_pair,
                {
                    "formatting": "sharegpt",
                    "ranking": True,
                    "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
                    "tags": SHAREGPT,
                },
            ),
        ),
        Form(
            "unpaired",
            "An answer that somebody liked or did not, by thumbs.",
            {"prompt": "turns", "completion": "turns", "label": "flag"},
            {
                "prompt": "the turns that were answered, each with `role` and `content`",
                "completion": "the answer, one turn of the assistant",
                "label": "true: liked; false: not",
            },
            Factory(
                {"messages": "turns", "label": "flag"},
                _labelled_messages,
                {
                    "formatting": "sharegpt",
                    "columns": {"messages": "messages", "kto_tag": "label"},
                    "tags": OPENAI,
                },
            ),
        ),
        Form(
            "sft",
            "Conversations that end with the answer that a person wrote in place of the model's.",
            {"messages": "turns"},
            {"messages": "the whole conversation, each turn with `role` and `content`; the last is the correction"},
            Factory(
                {"messages": "turns"},
                None,
                {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": OPENAI},
            ),
        ),
        Form(
            "prompt",
            "What people asked, each prompt once, without answers.",
            {"prompt": "turns"},
            {"prompt": "the turns up to where an answer is due, each with `role` and `content`"},
            None,
        ),
    )
}
