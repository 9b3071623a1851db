"""Feedback out of the store, as JSON lines in TRL's conversational columns, for any trainer that reads them.

preference: {prompt: [turns], chosen: [answer], rejected: [answer]}, from side by sides and corrections.
unpaired: {prompt: [turns], completion: [answer], label: true or false}, from thumbs.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from problems import Problem
from store.database import Store
from store.formats.rows import ParsedPair, ParsedThumb
from store.opinions import Opinion, opinions

FORMS = ("preference", "unpaired")


@dataclass(frozen=True)
class ExportReport:
    """`rows` written to `path`; `left_out` counts, by reason, the opinions that this form cannot hold."""

    rows: int
    path: Path
    as_: str
    left_out: dict[str, int] = field(default_factory=dict)


def export(store: Store, out: Path, as_: str = "preference") -> ExportReport:
    """Write present opinions of people who consent to `out`, whole or not at all; an earlier file is replaced.

    Ties and both-bad verdicts are no preference: they are counted in `left_out`, like pairs of answers to different
    prompts or with the same text. Memory does not grow with the store.

    Raises:
        Problem: unknown form, or the file cannot be written there.
    """
    if as_ not in FORMS:
        raise Problem(f"There is no form {as_!r}.", hint=f"Use one of: {', '.join(FORMS)}.", status=2)
    if not out.parent.is_dir():
        raise Problem(f"There is no folder {out.parent}.", hint="Make it first, or choose another place.")
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    left_out: Counter[str] = Counter()
    rows = 0
    try:
        with store.session(reading=True) as session, temporary.open("w", encoding="utf-8", newline="\n") as file:
            for opinion, told in pairs_told(session) if as_ == "preference" else thumbs_told(session):
                if told is None:
                    left_out[_reason(opinion)] += 1
                    continue
                file.write(json.dumps(_columns(told), ensure_ascii=False) + "\n")
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
        _sync_folder(out.parent)
    except OSError as error:
        raise Problem(f"{out} cannot be written: {error.strerror}.", hint="Choose another place.") from None
    finally:
        temporary.unlink(missing_ok=True)
    return ExportReport(rows, out, as_, dict(left_out))


def pairs_told(session: Session, *, here: bool = False) -> Iterator[tuple[Opinion, ParsedPair | None]]:
    """Each side by side and correction with the preference that it states; None where it states none.

    `here`: only what was said here, nothing imported.
    """
    for opinion in opinions(session, ("pair", "correction"), here=here):
        yield opinion, None if _reason(opinion) else _preference(opinion)


def thumbs_told(session: Session, *, here: bool = False) -> Iterator[tuple[Opinion, ParsedThumb | None]]:
    """Each thumb with what it says of its answer; `here`: only what was said here, nothing imported."""
    for opinion in opinions(session, ("thumb",), here=here):
        yield opinion, ParsedThumb(opinion.messages, opinion.text, opinion.value == 1)


def _reason(opinion: Opinion) -> str:
    """Why an opinion states no preference; empty when it does."""
    if opinion.kind == "correction":
        return "same text" if opinion.value == opinion.text else ""
    if opinion.value in ("tie", "both_bad"):
        return str(opinion.value)
    if opinion.messages != opinion.other_messages:
        return "different prompts"
    return "same text" if opinion.text == opinion.other_text else ""


def _preference(opinion: Opinion) -> ParsedPair:
    if opinion.kind == "correction":
        return ParsedPair(opinion.messages, opinion.value, opinion.text)
    other = opinion.other_text or ""
    chosen, rejected = (opinion.text, other) if opinion.value == "left" else (other, opinion.text)
    return ParsedPair(opinion.messages, chosen, rejected)


def _columns(told: ParsedPair | ParsedThumb) -> dict[str, Any]:
    if isinstance(told, ParsedPair):
        return {"prompt": told.prompt, "chosen": _answer(told.chosen), "rejected": _answer(told.rejected)}
    return {"prompt": told.prompt, "completion": _answer(told.completion), "label": told.label}


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _sync_folder(folder: Path) -> None:
    # The new name, too, must be on disk before the export is reported.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
