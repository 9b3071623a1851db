"""What a chat template takes, found by asking it: templates differ, and none says what it refuses or leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

Message = dict[str, str]

# Words that no template has of its own.
_QUESTION, _FURTHER, _ANSWER, _AGAIN, _RULE = "Zephyrquill", "Marblewick", "Thistlemoon", "Cobaltfern", "Lanternoak"
_BETWEEN = "\n\n"  # between two texts that become one turn


@dataclass(frozen=True)
class Manner:
    """How messages must come for a template to keep every text."""

    parts: bool  # contents as lists of parts, as templates of models that also see images want them
    system: bool  # a leading system message is kept
    later_system: bool  # so is one further down
    alternates: bool  # no two turns of one role in a row
    end: int | None  # the token that ends the assistant's turn; None where no token of its own does


_known: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, Manner]] = WeakKeyDictionary()


def manner(tokenizer: PreTrainedTokenizerBase) -> Manner:
    """The manner of this tokenizer's template; asked once."""
    template = tokenizer.chat_template
    known = _known.get(tokenizer)
    if known is None or known[0] != template:
        known = template, _asked(tokenizer)
        _known[tokenizer] = known
    return known[1]


def render(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], parts: bool = False, prompt: bool = True, **more: Any
) -> str:
    """The template's text; `prompt`: with the beginning of an answer; `more`: further variables of the template.

    Raises:
        TemplateError: the template refuses the messages, or trips over them.
    """
    return str(_applied(tokenizer, _worded(messages, parts), prompt, more, tokenize=False))


def encode(tokenizer: PreTrainedTokenizerBase, messages: list[Message], **more: Any) -> list[int]:
    """Token ids of `messages`, put as the template wants them, ending where the answer begins. Raises as `render`.

    The template writes the beginning-of-text token itself, so that none is added here.
    """
    way = manner(tokenizer)
    turns = _worded(arranged(way, messages), way.parts)
    return cast(list[int], _applied(tokenizer, turns, True, more, tokenize=True, return_dict=False))


def arranged(way: Manner, messages: list[Message]) -> list[Message]:
    """`messages` in the order and roles that a template of this manner takes, with every text kept.

    A system message that the template would refuse or lose goes before the text of the user's turn behind it; turns of
    one role in a row become one where the template wants them to take turns.
    """
    turns: list[Message] = []
    carried: list[str] = []
    leading = True
    for message in messages:
        if message["role"] == "system":
            if leading and turns and not way.later_system:
                turns[-1] = {**turns[-1], "content": _joined(turns[-1]["content"], message["content"])}
            elif way.system if leading else way.later_system:
                turns.append(message)
            else:
                carried.append(message["content"])
            continue
        leading = False
        if carried and message["role"] == "user":
            message = {**message, "content": _joined(*carried, message["content"])}
            carried = []
        elif carried:
            turns.append({"role": "user", "content": _joined(*carried)})
            carried = []
        turns.append(message)
    if carried:
        turns.append({"role": "user", "content": _joined(*carried)})
    if not way.alternates:
        return turns
    taking: list[Message] = []
    for message in turns:
        if taking and taking[-1]["role"] == message["role"]:
            taking[-1] = {**taking[-1], "content": _joined(taking[-1]["content"], message["content"])}
        else:
            taking.append(message)
    return taking


def _applied(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], prompt: bool, more: dict[str, Any], **how: Any
) -> Any:
    variables = _blanks(tokenizer) | more
    try:
        return tokenizer.apply_chat_template(turns, add_generation_prompt=prompt, **how, **variables)
    except TemplateError:
        raise
    except Exception as error:  # a template is a program of strangers: it divides by zero as well as it refuses
        raise TemplateError(f"{type(error).__name__}: {error}") from error


def _blanks(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Empty texts for the tokens that templates may name and this tokenizer does not have."""
    return {name: "" for name in ("bos_token", "eos_token") if getattr(tokenizer, name) is None}


def _joined(*texts: str) -> str:
    return _BETWEEN.join(text for text in texts if text)


def _worded(messages: list[Message], parts: bool) -> list[dict[str, Any]]:
    if not parts:
        return [dict(message) for message in messages]
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def _asked(tokenizer: PreTrainedTokenizerBase) -> Manner:
    def said(role: str, text: str) -> Message:
        return {"role": role, "content": text}

    question, answer = said("user", _QUESTION), said("assistant", _ANSWER)
    rule, further, second = said("system", _RULE), said("user", _FURTHER), said("system", _AGAIN)
    parts = not _keeps(tokenizer, [question], False) and _keeps(tokenizer, [question], True)
    system = _keeps(tokenizer, [rule, question], parts)
    return Manner(
        parts=parts,
        system=system,
        # Asked with a first one in place: some templates keep the last alone.
        later_system=system and _keeps(tokenizer, [rule, question, answer, second, further], parts),
        alternates=not (
            _keeps(tokenizer, [question, further], parts)
            and _keeps(tokenizer, [question, answer, said("assistant", _AGAIN), further], parts)
        ),
        end=_end(tokenizer, [question, answer], parts),
    )


def _keeps(tokenizer: PreTrainedTokenizerBase, messages: list[Message], parts: bool) -> bool:
    try:
        text = render(tokenizer, messages, parts)
    except TemplateError:
        return False
    return all(message["content"] in text for message in messages)


def _end(tokenizer: PreTrainedTokenizerBase, messages: list[Message], parts: bool) -> int | None:
    try:
        text = render(tokenizer, messages, parts, prompt=False)
    except TemplateError:
        return None
    _, found, after = text.rpartition(_ANSWER)
    ids = tokenizer.encode(after.strip(), add_special_tokens=False) if found else []
    return int(ids[0]) if ids and ids[0] in tokenizer.added_tokens_decoder else None
