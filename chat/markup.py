"""Words of people and models as the page's components are given them: markdown in which nothing is HTML but our own.

A component of Gradio's renders markdown in the browser, and lets HTML in it pass with forms and styles, from which a
message could build anything over the page. So no `<` and no `&` of a message goes out as it is. Where markdown would
not read `&lt;` as `<`, in code, nor in formulas, every mark of punctuation goes out as a character reference, code
within tags that are written here: so it does not matter whether the browser's parser finds the same code as this one.

What must not be seen (the fences of code, for one) stands in `<i>`, which markdown itself never writes and the style
sheet hides. So `plain` gives back each message letter for letter; in the browser, for copying and editing, `PLAIN`.
"""

from __future__ import annotations

import re

REFERENCE = re.compile(r"[!-/:-@\[-`{-~\t\n\r]|^\s|\s$")  # ASCII's punctuation, line ends, what would be trimmed
# What is not prose in an answer, in the order in which it is looked for at each place.
PARTS = re.compile(
    r"""
      (?P<lead>^[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]+)*)                              # of a list or a quotation
      (?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)(?:\n|\Z)
      (?P<block>.*?)(?P<close>(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$)|\Z)                    # unfinished: to the end
    | \\(?P<escaped>[!-/:-@\[-`{-~])
      # Code in a line of text, which no blank line ends; what is longer is shown with its backticks.
    | (?<!`)(?P<ticks>`{1,9})(?!`)(?P<span>(?:(?!\n[ \t]*\n).){1,2000}?)(?<!`)(?P=ticks)(?!`)
    | \$\$(?P<formula>.+?)\$\$
    | <(?P<link>https?://[^\s<>`&]*)>
    | (?P<mark>[<&`]|\$(?=\$)|%(?=%%)|!(?=\[))
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)

TAG = re.compile(r"</?(?:i|code|pre)>")
CODED = re.compile(r"&#(\d+);")


def text_markup(text: str) -> str:
    """A message that is shown as it was written: no markdown, no formula, no link."""
    return _referenced(text)


def answer_markup(text: str) -> str:
    """An answer, in which markdown is markdown: emphasis, headings, lists, tables, links, code, formulas.

    A picture becomes a link to it.
    """
    return PARTS.sub(_part, text)


def plain(markup: str) -> str:
    """The text of which one of the two above was made."""
    return CODED.sub(lambda found: chr(int(found[1])), TAG.sub("", markup))


# The same in the browser.
PLAIN = r"""(markup) => markup
  .replace(/<\/?(?:i|code|pre)>/g, '').replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code))"""


def _referenced(text: str) -> str:
    return REFERENCE.sub(lambda found: f"&#{ord(found[0])};", text)


def _hidden(text: str) -> str:
    return f"<i>{_referenced(text)}</i>" if text else ""


def _part(found: re.Match[str]) -> str:
    if found["fence"]:
        return _block(found)
    if found["escaped"]:
        if found["escaped"] not in "<&`$!%":
            return found[0]
        return f"{_hidden(chr(92))}&#{ord(found['escaped'])};"
    if found["ticks"]:
        return f"<code>{_hidden(found['ticks'])}{_referenced(found['span'])}{_hidden(found['ticks'])}</code>"
    if found["formula"]:
        return f"$${_referenced(found['formula'])}$$"
    if found["link"]:
        return f"{_hidden('<')}{found['link']}{_hidden('>')}"
    return f"&#{ord(found['mark'])};"


def _block(found: re.Match[str]) -> str:
    """Fenced code on one line, so that no blank line in it ends it. The indent of a list is no part of the code."""
    lead = found["lead"]
    opening = found[0][len(lead) : found.start("block") - found.start()]
    lines = [_line(each, len(lead)) for each in found["block"].split("\n")]
    block = "&#10;".join(lines)
    end = found["close"]
    if end and block.endswith("&#10;"):
        block, end = block.removesuffix("&#10;"), f"\n{end}"
    return f"{lead}<pre><code>{_hidden(opening)}{block}{_hidden(end)}</code></pre>"


def _line(line: str, indent: int) -> str:
    kept = re.sub(rf"^[ \t>]{{0,{indent}}}", "", line) if indent else line
    return _hidden(line[: len(line) - len(kept)]) + _referenced(kept)
