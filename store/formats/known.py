"""The formats that an import knows, and which of them a file is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from problems import Problem
from store.formats import (
    alpaca,
    argilla,
    chat_ui,
    fastchat,
    feel,
    gradio,
    helpsteer,
    hh_rlhf,
    kto,
    librechat,
    lmarena,
    nectar,
    open_webui_chats,
    open_webui_feedback,
    openai_logs,
    pykoi,
    sharegpt,
    trl_preference,
    trl_prompt,
    trl_unpaired,
)
from store.formats.columns import named
from store.formats.files import read_rows
from store.formats.rows import BadRow, LeftOut, Lost, Parsed, shown
from store.formats.words import clean

LOOK_AT = 100  # rows that are looked at to tell a format


class Format(Protocol):
    """What a module in `store.formats` offers."""

    NAME: str

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the row looks like one of this format."""

    def unread(self, row: Mapping[str, Any]) -> list[str]:
        """Columns of such a row that look as if they said something of an answer, and that `parse` does not read."""

    def parse(self, row: Mapping[str, Any]) -> Sequence[Parsed | Lost]:
        """Read a row; BadRow says what is wrong with it, LeftOut that there is nothing in it to keep."""


FORMATS: tuple[Format, ...] = (
    trl_preference,
    trl_unpaired,
    trl_prompt,
    hh_rlhf,
    sharegpt,
    alpaca,
    kto,
    helpsteer,
    nectar,
    lmarena,
    open_webui_feedback,
    open_webui_chats,
    librechat,
    chat_ui,
    fastchat,
    argilla,
    feel,
    pykoi,
    gradio,
    openai_logs,
)


def read(format: Format, row: Mapping[str, Any], *, named_by_user: bool) -> tuple[list[Parsed], list[Lost]]:
    """What a row says that can be kept, as it was said (see `store.formats.words`), and what of it cannot.

    Raises:
        BadRow: it is no row of the format or, unless the user named the format, holds columns that are not read.
        LeftOut: nothing in it can be kept.
    """
    if not named_by_user and (columns := format.unread(row)):
        raise BadRow(f"nothing reads its {named(columns)}")
    kept: list[Parsed] = []
    lost: list[Lost] = []
    for each in format.parse(row):
        if isinstance(each, Lost):
            lost.append(each)
            continue
        try:
            kept.append(clean(each))
        except LeftOut as left:
            lost.append(Lost(str(left)))
    if not kept:
        raise LeftOut(lost[0].reason if lost else "it says nothing")
    return kept, lost


def format_of(path: Path, name: str) -> Format:
    """The format with this name or, for auto, the one whose rows the file's first ones look like.

    Raises:
        Problem: no such format, a file that cannot be read or holds no rows, rows of no known format or, for auto, of
            one that would leave columns unread which look as if they said something of an answer.
    """
    known = ", ".join(each.NAME for each in FORMATS)
    chosen = next((each for each in FORMATS if name == each.NAME), None)
    if chosen is None and name != "auto":
        raise Problem(f"There is no format {name!r}.", hint=f"Use auto or one of: {known}.", status=2)
    first: tuple[str, dict[str, Any] | BadRow] | None = None
    readable: dict[str, Any] = {}
    looked_at = 0
    for place, row in read_rows(path):
        first = first or (place, row)
        if isinstance(row, BadRow):
            continue
        if chosen is not None:
            return chosen
        found = next((each for each in FORMATS if each.matches(row)), None)
        if found is not None:
            if columns := found.unread(row):
                raise Problem(
                    shown(f"{path}, {place}: it looks like {found.NAME}, but nothing reads its {named(columns)}."),
                    hint=f"If nothing is lost with them, leave them unread with --format {found.NAME}; otherwise write "
                    "the file in a form that docs/formats.md names.",
                )
            return found
        looked_at += 1
        readable = readable or row
        if looked_at == LOOK_AT:
            break
    if first is None:
        raise Problem(f"{path} holds no rows.", hint="Check that it is the file you mean.")
    if not looked_at:
        raise Problem(f"{path}, {first[0]}: {first[1]}.", hint="No row of the file can be read; nothing was stored.")
    keys = shown(", ".join(str(key) for key in list(readable)[:8])[:200]) or "no fields"
    raise Problem(f"{path} is of no known format: its rows have {keys}.", hint=f"Known formats: {known}.")
