"""An update's frozen dataset as `datasets` with TRL's columns, for trainers other than ours.

train: rows that this update learned from first; replay: those that an earlier update had learned from already;
holdout: never learned from. https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems import Problem
from store.database import Store
from store.forms import FORMS, Row, answer
from store.frozen import Frozen, line

if TYPE_CHECKING:
    from datasets import DatasetDict

HELD = ("preference", "unpaired", "prompt")  # forms of `store.forms` that a frozen dataset has rows of


def dataset(store: Store, update_id: int, as_: str = "preference") -> DatasetDict:
    """The dataset of an update, split into train, replay and holdout.

    Args:
        as_: preference {prompt, chosen, rejected}, without ties and both-bad; unpaired {prompt, completion, label}:
            thumbs, and both answers of a both-bad pair as disliked; prompt {prompt}. All conversational: lists of
            {role, content}. Scores and tags are in none: each of these forms would make something else of them.

    Returns:
        The three splits; each one's `info.description` holds the content hash of the whole frozen dataset.

    Raises:
        Problem: unknown form; the update has no dataset, or rows of it were erased.
    """
    from datasets import Dataset, DatasetDict, DatasetInfo

    if as_ not in HELD:
        raise Problem(f"There is no form {as_!r}.", hint=f"Use one of: {', '.join(HELD)}.", status=2)
    folder = store.home / "updates"
    frozen = Frozen.from_json(folder / str(update_id) / "dataset")
    known = _learned_before(folder, update_id)
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "replay": [], "holdout": []}
    for row in _rows(frozen, as_):
        replayed = row["split"] == "train" and line(row) in known
        splits["replay" if replayed else row["split"]].append(_columns(row, as_))
    info = DatasetInfo(description=f"ratchet {frozen.hash}")
    names = list(FORMS[as_].shapes)
    return DatasetDict(
        {
            split: Dataset.from_dict({name: [row[name] for row in rows] for name in names}, info=info)
            for split, rows in splits.items()
        }
    )


def _rows(frozen: Frozen, as_: str) -> list[Row]:
    """The rows that a form has, as the dataset's files hold them."""
    if as_ == "prompt":
        return [vars(prompt) for prompt in frozen.prompts]
    if as_ == "preference":
        return [vars(pair) for pair in frozen.pairs if pair.outcome == 1.0]
    bad = [half for pair in frozen.pairs if pair.outcome == 0.0 for half in _halves(vars(pair))]
    return [vars(thumb) for thumb in frozen.thumbs] + bad


def _halves(pair: Row) -> list[Row]:
    """Both answers of a pair where neither would do, each as one that was not liked: this form knows no such pair."""
    told = {name: pair[name] for name in ("messages", "person", "conversation", "split")}
    return [told | {"answer": pair[half], "liked": False, "kind": "both_bad"} for half in ("first", "second")]


def _columns(row: Row, as_: str) -> dict[str, Any]:
    if as_ == "preference":
        return {"prompt": row["messages"], "chosen": answer(row["first"]), "rejected": answer(row["second"])}
    if as_ == "unpaired":
        return {"prompt": row["messages"], "completion": answer(row["answer"]), "label": row["liked"]}
    return {"prompt": row["messages"]}


def _learned_before(folder: Path, update_id: int) -> set[str]:
    """Training rows of earlier updates, as lines; what was erased of them since is not among them."""
    earlier = [each for each in folder.iterdir() if each.name.isdigit() and int(each.name) < update_id]
    rows = (
        json.loads(each)
        for update in earlier
        for file in (update / "dataset").glob("*.jsonl")
        for each in file.read_bytes().decode("utf-8").split("\n")
        if each
    )
    return {line(told) for row in rows if row["split"] == "train" for told in _as_now(row)}


def _as_now(row: Row) -> list[Row]:
    """A row of an earlier dataset, perhaps of an older version, as `_rows` tells it."""
    if "outcome" not in row:
        return [row]
    return _halves(row) if row["outcome"] == 0.0 else [{"draw": "uniform"} | row]
