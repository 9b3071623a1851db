"""What a parsed row says, without what was not said: thoughts, calls of tools, error texts, marks of a template.

Every format's rows go through here, so none of them has to know.
"""

from __future__ import annotations

from dataclasses import replace

from store.formats.rows import LeftOut, Opinions, Parsed, ParsedAnswer, ParsedDraw, ParsedPair, ParsedThumb, Turns
from store.formats.spoken import spoken
from store.formats.transcripts import marked, without_ends


def clean(parsed: Parsed) -> Parsed:
    """The row with the words of its answers alone.

    An earlier answer that has none is no turn; a last one that has none, and that nobody judged, leaves a prompt.

    Raises:
        LeftOut: a judged answer has no words, both of a pair are the same, or turns stand within a turn.
    """
    prompt = _turns(parsed.prompt)
    if isinstance(parsed, ParsedPair):
        chosen, rejected = _apart(parsed.chosen, parsed.rejected)
        return replace(parsed, prompt=prompt, chosen=chosen, rejected=rejected)
    if isinstance(parsed, ParsedDraw):
        left, right = _apart(parsed.left, parsed.right)
        return replace(parsed, prompt=prompt, left=left, right=right)
    if isinstance(parsed, ParsedThumb):
        return replace(parsed, prompt=prompt, completion=_answer(parsed.completion))
    return _clean_answer(parsed, prompt)


def _clean_answer(parsed: ParsedAnswer, prompt: Turns) -> ParsedAnswer:
    if parsed.completion is None:
        return replace(parsed, prompt=prompt)
    if not parsed.opinions and not _words(parsed.completion):
        if not prompt or prompt[-1]["role"] != "user":
            raise LeftOut("the answer has no words, and no question stands before it")
        return replace(parsed, prompt=prompt, completion=None)
    opinions: Opinions = tuple(
        (kind, _answer(value) if kind == "correction" and isinstance(value, str) else value)
        for kind, value in parsed.opinions
    )
    return replace(parsed, prompt=prompt, completion=_answer(parsed.completion), opinions=opinions)


def _turns(turns: Turns) -> Turns:
    found: Turns = []
    for turn in turns:
        answer = turn["role"] == "assistant"
        words = _words(turn["content"]) if answer else turn["content"]
        if answer and not words.strip():
            continue
        _check(words, answer)
        found.append(turn if words == turn["content"] else {"role": turn["role"], "content": words})
    return found


def _apart(one: str, other: str) -> tuple[str, str]:
    first, second = _answer(one), _answer(other)
    if first == second:
        raise LeftOut("both answers say the same")
    return first, second


def _answer(text: str) -> str:
    words = _words(text)
    if not words.strip():
        raise LeftOut("an answer has no words: it is a thought, a call of a tool or an error text alone")
    _check(words, True)
    return words


def _words(text: str) -> str:
    return without_ends(spoken(text))


def _check(text: str, answer: bool) -> None:
    markup = marked(text, answer)
    if markup is not None:
        raise LeftOut(f"a turn holds turns of its own, in the markup of {markup}")
