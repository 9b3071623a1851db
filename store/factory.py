"""dataset_info.json, in which LLaMA-Factory looks up what a data set's file holds, beside the entries of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from problems import Problem
from store.forms import Form

NAME = "dataset_info.json"


def stem(out: Path, format: str) -> str:
    """The name of a file without the ending of its format."""
    ending = f".{format}"
    return out.name[: -len(ending)] if out.name.lower().endswith(ending) and len(out.name) > len(ending) else out.name


def twin_of(out: Path, form: Form, format: str) -> tuple[Path, str] | None:
    """The second file that LLaMA-Factory reads instead of `out`, and its format; None: it reads `out`, or neither.

    It knows formats by the ending of the name, and none by two endings.
    """
    if form.factory is None or (form.factory.row is None and out.suffix in (".jsonl", ".parquet")):
        return None
    plain = "parquet" if format == "parquet" else "jsonl"
    return out.with_name(f"{stem(out, format)}.llama-factory.{plain}"), plain


def entries_at(path: Path) -> dict[str, Any]:
    """The entries that a dataset_info.json holds; none if there is no such file. Problem when it is no such file."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        entries = None
    if not isinstance(entries, dict):
        raise Problem(
            f"{path} is there already and cannot be read as JSON with an entry a data set.",
            hint="Mend it, export into another folder, or leave it alone with --no-llama-factory.",
        )
    return entries


def with_entry(entries: dict[str, Any], out: Path, form: Form, format: str) -> str:
    """The text of a dataset_info.json with these entries and one of this export, in place of its earlier one.

    Its name is that of the file without the ending, or with it where another data set has that name.
    """
    assert form.factory is not None
    twin = twin_of(out, form, format)
    file = out.name if twin is None else twin[0].name
    name = stem(out, format)
    ours = (out.name, f"{name}.llama-factory{Path(file).suffix}")
    held = entries.get(name, {"file_name": file})
    if not isinstance(held, dict) or held.get("file_name") not in ours:
        name = out.name
    added = entries | {name: {"file_name": file} | form.factory.entry}
    return json.dumps(added, indent=2, ensure_ascii=False) + "\n"
