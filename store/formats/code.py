"""Code within a text, as Markdown marks it: what stands there is shown, not said."""

from __future__ import annotations

import re

# A block from one fence to the next of the same kind that is at least as long, or to the end of the text.
CODE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})(?:(?!(?P=fence))[^\n])*$(?:.*?^ {0,3}(?P=fence)[`~]*[ \t]*$|.*\Z)",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"(`+)(?!`)[^\n]{0,500}?(?<!`)\1(?!`)")
INDENTED = re.compile(r"^(?: {4}|\t)[^\n]*$", re.MULTILINE)


def without_code(text: str) -> str:
    """The text without its blocks and spans of code."""
    if "`" in text or "~~~" in text:
        text = INLINE.sub(" ", CODE.sub(" ", text))
    return INDENTED.sub(" ", text)
