"""Feedback out of the store in TRL's conversational columns, with a dataset card and what LLaMA-Factory needs to know.

Forms and their columns: `store.forms`. Files: `store.writers`. Card: `store.cards`. Personal data: `store.scrub`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from problems import Problem
from store import factory
from store.cards import ExportReport, card_place, card_text, check_license
from store.database import Store
from store.formats.rows import ParsedPair, ParsedThumb
from store.forms import FORMS, Row, answer
from store.opinions import Opinion, asked, count_asked, count_opinions, opinions
from store.scrub import Scrubber
from store.seen import Seen
from store.writers import RowWriter, all_or_none, format_of, rows_to

KINDS = {"preference": ("pair", "correction"), "unpaired": ("thumb",), "sft": ("correction",)}
UNREAD = "no consent or no text"
STEP = 1000  # rows between two words of progress
Columns = Callable[[Row], Row]


@dataclass(frozen=True)
class Told:
    """One opinion, or prompt, on its way out: its row, or the reason why it has none."""

    kind: str
    created: datetime
    row: Row | None
    reason: str = ""


@dataclass
class Tally:
    """What went out so far, and what did not."""

    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    latest: datetime | None = None

    def add(self, told: Told) -> None:
        """Count one."""
        self.latest = told.created if self.latest is None else max(self.latest, told.created)
        if told.row is None:
            self.left_out[told.reason] += 1
        else:
            self.rows += 1
            self.kinds[told.kind] += 1


def export(
    store: Store,
    out: Path,
    as_: str = "preference",
    *,
    format: str | None = None,
    license: str | None = None,
    scrub: bool = True,
    llama_factory: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> ExportReport:
    """Write what people who consent said to `out`, whole or not at all; an earlier file is replaced.

    Args:
        as_: a form of `store.forms`: preference, unpaired, prompt or sft.
        format: jsonl, jsonl.gz or parquet; None: by the ending of `out`.
        license: its id on the Hugging Face hub, for the card.
        scrub: replace personal data by placeholders; pairs that then say the same are left out.
        llama_factory: also dataset_info.json, and a second file where LLaMA-Factory needs other columns.
        progress: called with what is done, how much, and of how much.

    Ties and both-bad verdicts are no preference: they are counted in `left_out`, like pairs of answers to different
    prompts or with the same text. Memory does not grow with the store. The same store gives the same files.

    Raises:
        Problem: unknown form, format or license, a dataset_info.json that cannot be read, or no writing there.
    """
    if as_ not in FORMS:
        raise Problem(f"There is no form {as_!r}.", hint=f"Use one of: {', '.join(FORMS)}.", status=2)
    if not out.parent.is_dir():
        raise Problem(f"There is no folder {out.parent}.", hint="Make it first, or choose another place.")
    if out.is_dir():
        raise Problem(f"{out} cannot be written: it is a folder.", hint="Choose another place.")
    if out.name in ("README.md", factory.NAME):
        raise Problem(f"{out.name} is the name of a file beside the export.", hint="Choose another name.", status=2)
    format, form = format_of(out, format), FORMS[as_]
    check_license(license)
    scrubber, tally = Scrubber() if scrub else None, Tally()
    try:
        card = card_place(out)
        info = out.with_name(factory.NAME) if llama_factory and form.factory else None
        entries = factory.entries_at(info) if info else {}
        twin = factory.twin_of(out, form, format) if llama_factory else None
        with all_or_none() as draft:
            # The export gets its name last: where it is, there is all that belongs to it.
            twin_draft = draft.place(twin[0]) if twin else None
            info_draft = draft.place(info) if info else None
            card_draft, out_draft = draft.place(card), draft.place(out)
            with ExitStack() as files, store.session(reading=True) as session:
                writers: list[tuple[RowWriter, Columns]] = [
                    (files.enter_context(rows_to(out_draft, format, form.shapes)), _same)
                ]
                if twin and twin_draft and form.factory:
                    writer = files.enter_context(rows_to(twin_draft, twin[1], form.factory.shapes))
                    writers.append((writer, form.factory.row or _same))
                _write(session, as_, scrubber, tally, writers, progress)
            with out_draft.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            report = ExportReport(
                rows=tally.rows,
                path=out,
                as_=as_,
                format=format,
                sha256=digest,
                kinds=dict(tally.kinds),
                left_out=dict(tally.left_out),
                scrubbed=scrubber.total() if scrubber else None,
                latest=tally.latest.date().isoformat() if tally.latest else None,
                license=license,
                card=card,
                info=info,
                twin=twin[0] if twin else None,
            )
            card_draft.write_text(card_text(report, form), encoding="utf-8")
            if info_draft:
                info_draft.write_text(factory.with_entry(entries, out, form, format), encoding="utf-8")
    except OSError as error:
        raise Problem(f"{out} cannot be written: {error.strerror}.", hint="Choose another place.") from None
    return report


def _write(
    session: Session,
    as_: str,
    scrubber: Scrubber | None,
    tally: Tally,
    writers: list[tuple[RowWriter, Columns]],
    progress: Callable[[str, int, int], None] | None,
) -> None:
    total = count_opinions(session, KINDS[as_]) if as_ in KINDS else count_asked(session)
    read = 0
    for told in _checked(_told(session, as_), as_, scrubber):
        tally.add(told)
        read += 1
        if told.row is not None:
            for writer, columns in writers:
                writer.write(columns(told.row))
        if progress is not None and read % STEP == 0:
            progress("export, rows", read, total)
    if total > read:
        tally.left_out[UNREAD] = total - read


def _same(row: Row) -> Row:
    return row


def _told(session: Session, as_: str) -> Iterator[Told]:
    if as_ == "preference":
        for opinion, pair in pairs_told(session):
            yield Told(opinion.kind, opinion.created, _pair_row(pair), _reason(opinion))
    elif as_ == "unpaired":
        for opinion, thumb in thumbs_told(session):
            row = {"prompt": thumb.prompt, "completion": answer(thumb.completion), "label": thumb.label}
            yield Told("thumb up" if thumb.label else "thumb down", opinion.created, row)
    elif as_ == "sft":
        for opinion in opinions(session, ("correction",)):
            yield Told(opinion.kind, opinion.created, {"messages": opinion.messages + answer(opinion.value)})
    else:
        for each in asked(session):
            yield Told("prompt", each.created, {"prompt": each.messages})


def _checked(told: Iterator[Told], as_: str, scrubber: Scrubber | None) -> Iterator[Told]:
    """Scrubbed, and without what that made worthless or what was there before."""
    with closing(Seen()) as seen:
        for each in told:
            row, finds = each.row, Scrubber()
            if row is not None and scrubber is not None:
                row = _scrubbed(row, finds)
                if as_ == "preference" and row["chosen"] == row["rejected"]:
                    yield replace(each, row=None, reason="same text once scrubbed")
                    continue
            if row is not None and as_ == "prompt" and not seen.add(json.dumps(row, sort_keys=True)):
                yield replace(each, row=None, reason="repeated")
                continue
            if scrubber is not None:
                scrubber.add(finds)
            yield replace(each, row=row)


def _scrubbed(row: Row, scrubber: Scrubber) -> dict[str, Any]:
    return {
        name: scrubber.scrub_turns(value, name) if isinstance(value, list) else value for name, value in row.items()
    }


def _pair_row(pair: ParsedPair | None) -> Row | None:
    if pair is None:
        return None
    return {"prompt": pair.prompt, "chosen": answer(pair.chosen), "rejected": answer(pair.rejected)}


def pairs_told(session: Session, *, unkeyed: bool = False) -> Iterator[tuple[Opinion, ParsedPair | None]]:
    """Each side by side and correction with the preference that it states; None where it states none.

    `unkeyed`: see `store.opinions.opinions`.
    """
    for opinion in opinions(session, ("pair", "correction"), unkeyed=unkeyed):
        yield opinion, None if _reason(opinion) else _preference(opinion)


def thumbs_told(session: Session, *, unkeyed: bool = False) -> Iterator[tuple[Opinion, ParsedThumb]]:
    """Each thumb with what it says of its answer; `unkeyed`: see `store.opinions.opinions`."""
    for opinion in opinions(session, ("thumb",), unkeyed=unkeyed):
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
