"""What was said in an answer: without the model's thoughts, its calls of tools, and a program's error texts.

The one place that knows how programs and models mark these. A mark counts where it begins a line outside of code, so
that a text which shows `<think>` in a code block, or speaks of it within a sentence, stays as it is.

Sources: Open WebUI (`<details type="reasoning">`, and the tags that it takes for reasoning), LibreChat
(`:::thinking`), the chat templates of DeepSeek, Qwen, Mistral, Cohere and Kimi, and the channels of gpt-oss
(https://cookbook.openai.com/articles/openai-harmony).
"""

from __future__ import annotations

import re

from store.formats.code import CODE

_TAGS = (
    "think thinking thought thoughts reason reasoning seed:think tool_call tool_calls tool_response "
    "tool_result tool_use function_call function_calls function_response function_results antml:function_calls"
)
TAGS = _TAGS.split()
LITERALS = {
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|START_ACTION|>": "<|END_ACTION|>",
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
}
CLOSED_BY = {opening.casefold(): closing for opening, closing in LITERALS.items()}
_NAMES = "|".join(map(re.escape, TAGS))
OPENING = re.compile(
    rf"<(?P<tag>{_NAMES})(?:[ \t][^<>\n]*)?>"
    rf"|(?P<literal>{'|'.join(map(re.escape, LITERALS))})"
    r"|(?P<details><details[ \t\n]+type=[\"']?(?:reasoning|tool_calls|code_interpreter)\b)"
    r"|(?P<colons>:::[ \t]*thinking\b[^\n]*)"
    r"|(?P<rest>\[TOOL_CALLS\]|<\|python_tag\|>)",
    re.IGNORECASE,
)
# The prompt may have ended in the opening mark: then the answer has the closing one alone.
CLOSING = re.compile(rf"</(?:{_NAMES})\s*>|{'|'.join(map(re.escape, LITERALS.values()))}", re.IGNORECASE)
# Where a mark, or a block of code, may begin.
LINE = re.compile(r"^[ ]{0,3}(?=[<\[:◁`~])", re.MULTILINE)
COLONS = re.compile(r"^[ ]{0,3}:::[ \t]*$", re.MULTILINE)
# Types of the parts of a turn that hold thoughts and no words of the answer.
THOUGHTS = frozenset({"think", "thinking", "thought", "reasoning", "redacted_thinking", "reasoning_content"})

FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
ENDED = re.compile(r"<\|(?:return|end|call|start)\|>")
# The same where the decoder left the special tokens out.
BARE = re.compile(r"analysis(?=\S).*?assistant\s?final(?:json)?", re.DOTALL)

# What stands in the place of an answer that failed.
FAILED = re.compile(
    r"Something went wrong\. Here's the specific error message we encountered:"  # LibreChat
    r"|\*\*NETWORK ERROR DUE TO HIGH TRAFFIC\."  # FastChat, from here on
    r"|(?:\$MODERATION\$ )?YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES"
    r"|YOU HAVE REACHED THE CONVERSATION LENGTH LIMIT\."
    r"|THIS SESSION HAS BEEN INACTIVE FOR TOO LONG\."
    r"|\*\*(?:API REQUEST ERROR\*\* Reason:|RATE LIMIT OF THIS MODEL IS REACHED)"
    r"|Uh-oh! There was an issue with the response\."  # Open WebUI, when its server had no words of its own
)


def spoken(text: str) -> str:
    """The words of an answer; empty when there are none. A text with nothing to take out comes back as it is."""
    if FAILED.match(text.lstrip()):
        return ""
    begun = text.lstrip()
    if begun.startswith(("<|channel|>", "<|start|>assistant")):
        return _final(begun)
    if (bare := BARE.match(begun)) is not None:
        return begun[bare.end() :].strip()
    return _without_blocks(text)


def _final(text: str) -> str:
    """The last message on the final channel; the others are thoughts and calls."""
    said = ""
    for found in FINAL.finditer(text):
        said = text[found.end() :]
    ended = ENDED.search(said)
    return (said[: ended.start()] if ended else said).strip()


def _without_blocks(text: str) -> str:
    kept: list[str] = []
    begun = at = 0  # where what is kept begins, and where the search goes on
    unclosed: set[str] = set()
    cut = False
    while True:
        # Behind a block another one may follow on the same line.
        if cut and at == begun and (end := _block(text, _past_space(text, at), unclosed)) is not None:
            begun = at = end
            continue
        line = LINE.search(text, at)
        if line is None:
            break
        if (code := CODE.match(text, line.start())) is not None:
            at = code.end()
        elif not cut and (closing := CLOSING.match(text, line.end())) is not None:
            begun = at = closing.end()
            cut = True
        elif (end := _block(text, line.end(), unclosed)) is not None:
            kept.append(text[begun : line.start()])
            begun = at = end
            cut = True
        else:
            at = line.end() + 1
    if not cut:
        return text
    pieces = [piece.strip() for piece in (*kept, text[begun:])]
    return "\n\n".join(piece for piece in pieces if piece)


def _block(text: str, place: int, unclosed: set[str]) -> int | None:
    """Where the block that opens at `place` ends; None where none opens there.

    `unclosed` collects the tags that are known to be closed nowhere from here on, so that each is looked for once.
    """
    opening = OPENING.match(text, place)
    if opening is None:
        return None
    if opening["details"] is not None:
        return _details_end(text, opening.end())
    if opening["colons"] is not None:
        closed = COLONS.search(text, opening.end())
        return closed.end() if closed else len(text)
    if opening["rest"] is not None:
        return len(text)
    name = (opening["tag"] or opening["literal"]).casefold()
    if name not in unclosed:
        mark = rf"</{re.escape(name)}\s*>" if opening["tag"] else re.escape(CLOSED_BY[name])
        closed = re.compile(mark, re.IGNORECASE).search(text, opening.end())
        if closed is not None:
            return closed.end()
        unclosed.add(name)
        if place < 1000 and not text[:place].strip():
            return len(text)  # the answer was stopped while the model thought
    alone = text.startswith("\n", opening.end()) or opening.end() == len(text)
    return len(text) if alone else None


def _details_end(text: str, at: int) -> int:
    """Where a <details> element ends that was opened before `at`; others may lie within it."""
    depth = 1
    while depth:
        closed = text.find("</details>", at)
        if closed < 0:
            return len(text)
        depth += text.count("<details", at, closed) - 1
        at = closed + len("</details>")
    return at


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
