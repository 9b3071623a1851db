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
from store.datasets import Frozen, Pair, Prompt, Thumb
from store.forms import FORMS, answer

if TYPE_CHECKING:
    from datasets import DatasetDict

HELD = ("preference", "unpaired", "prompt")  # forms of `store.forms` that a frozen dataset has rows of
Row = Pair | Thumb | Prompt


def dataset(store: Store, update_id: int, as_: str = "preference") -> DatasetDict:
    """The dataset of an update, split into train, replay and holdout.

    Args:
        as_: preference {prompt, chosen, rejected}, without ties; unpaired {prompt, completion, label}; prompt {prompt}.
            All conversational: lists of {role, content}.

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
        split: str = row.split
        if split == "train" and _key(vars(row)) in known:
            split = "replay"
        splits[split].append(_columns(row))
    info = DatasetInfo(description=f"ratchet {frozen.hash}")
    names = list(FORMS[as_].shapes)
    return DatasetDict(
        {
            split: Dataset.from_dict({name: [row[name] for row in rows] for name in names}, info=info)
            for split, rows in splits.items()
        }
    )


def _rows(frozen: Frozen, as_: str) -> list[Row]:
    if as_ == "prompt":
        return list(frozen.prompts)
    if as_ == "unpaired":
        return list(frozen.thumbs)
    return [pair for pair in frozen.pairs if pair.outcome == 1.0]


def _columns(row: Row) -> dict[str, Any]:
    if isinstance(row, Pair):
        return {"prompt": row.messages, "chosen": answer(row.first), "rejected": answer(row.second)}
    if isinstance(row, Thumb):
        return {"prompt": row.messages, "completion": answer(row.answer), "label": row.liked}
    return {"prompt": row.messages}


def _learned_before(folder: Path, update_id: int) -> set[str]:
    """Training rows of earlier updates, as lines; what was erased of them since is not among them."""
    earlier = [each for each in folder.iterdir() if each.name.isdigit() and int(each.name) < update_id]
    rows = (
        json.loads(line)
        for each in earlier
        for file in (each / "dataset").glob("*.jsonl")
        for line in file.read_bytes().decode("utf-8").split("\n")
        if line
    )
    return {_key(row) for row in rows if row["split"] == "train"}


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True)
