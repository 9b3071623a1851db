"""How far an answer misses a form, 0 to 1."""

from __future__ import annotations

import json

import regex

from reward.rule_settings import Format

ALL = 3  # lines that break a form before all of the weight is due
ITEMS = 2  # items that make a list

_ITEM = regex.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)、])[ \t]*+(?=\S)(?<=[\s•、])", regex.MULTILINE)
_FENCE = regex.compile(r"^[ \t]*(?:```|~~~)[^\n`]*$", regex.MULTILINE)
_WHOLE_FENCE = regex.compile(r"\A\s*(?:```|~~~)[^\n`]*\n(.*)\n[ \t]*(?:```|~~~)\s*\Z", regex.DOTALL)
_MARKED = regex.compile(
    r"""^[ \t]*(?:\#{1,6}[ ]|[-*+][ ]|>[ ]|```|~~~|\|.*\|[ \t]*$)   # heading, item, quotation, fence, row of a table
    |(?<![\w*])\*{1,3}(?=[^\s*])[^*\n]*[^\s*]\*{1,3}(?![\w*])       # emphasis
    |`[^`\n]+`|!?\[[^\[\]\n]+\]\([^)\n]{1,400}\)                     # code, links, pictures""",
    regex.VERBOSE,
)


def missed(form: Format | None, answer: str) -> float:
    """0 where an answer has the form, 1 where it misses it in full.

    json: one object or array and nothing else; one in a fence misses by half.
    list: two lines that begin with a bullet or a number; one alone misses by half.
    no_markdown: no headings, bullets, emphasis, code, links, tables; each line that has one misses by a third.
    single_line: each line after the first misses by a third; empty lines are not counted.
    code_block: a fence that is opened and closed; one that stays open misses by half.
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    match form:
        case "json":
            if _is_json(answer):
                return 0.0
            fence = _WHOLE_FENCE.match(answer)
            return 0.5 if fence and _is_json(fence[1]) else 1.0
        case "list":
            return 1 - min(ITEMS, len(_ITEM.findall(answer))) / ITEMS
        case "no_markdown":
            return min(ALL, sum(bool(_MARKED.search(line)) for line in lines)) / ALL
        case "single_line":
            return min(ALL, max(0, len(lines) - 1)) / ALL
        case "code_block":
            return 1 - min(2, len(_FENCE.findall(answer))) / 2
    raise ValueError(f"no such form: {form}")


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict | list)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
