"""The formats that an import knows, and which of them a file is of."""

from __future__ import annotations

from collections.abc import Mapping
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
    hh_rlhf,
    kto,
    librechat,
    open_webui_chats,
    open_webui_feedback,
    openai_logs,
    pykoi,
    sharegpt,
    trl_preference,
    trl_prompt,
    trl_unpaired,
)
from store.formats.files import read_rows
from store.formats.rows import BadRow, Parsed, shown

LOOK_AT = 100  # rows that are looked at to tell a format


class Format(Protocol):
    """What a module in `store.formats` offers."""

    NAME: str

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the row looks like one of this format."""

    def parse(self, row: Mapping[str, Any]) -> list[Parsed]:
        """Read a row; BadRow says what is wrong with it, LeftOut that there is nothing in it to keep."""


FORMATS: tuple[Format, ...] = (
    trl_preference,
    trl_unpaired,
    trl_prompt,
    hh_rlhf,
    sharegpt,
    alpaca,
    kto,
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


def format_of(path: Path, name: str) -> Format:
    """The format with this name or, for auto, the one whose rows the file's first ones look like.

    Raises:
        Problem: no such format, a file that cannot be read or holds no rows, or rows of no known format.
    """
    known = ", ".join(each.NAME for each in FORMATS)
    named = next((each for each in FORMATS if name == each.NAME), None)
    if named is None and name != "auto":
        raise Problem(f"There is no format {name!r}.", hint=f"Use auto or one of: {known}.", status=2)
    first: tuple[str, dict[str, Any] | BadRow] | None = None
    readable: dict[str, Any] = {}
    looked_at = 0
    for place, row in read_rows(path):
        first = first or (place, row)
        if isinstance(row, BadRow):
            continue
        found = named or next((each for each in FORMATS if each.matches(row)), None)
        if found is not None:
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
