"""From messages to the token ids that the model reads: chat template, and what to leave out when it is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from jinja2 import TemplateError

from problems import Problem

if TYPE_CHECKING:
    from lm.loading import Base

Message = dict[str, str]


def encode_chat(base: Base, messages: list[Message], thinking: bool | None = None) -> list[int]:
    """Token ids of `messages` ({"role", "content"}) in the base's chat template, ending where the answer begins.

    Raises:
        Problem: no message, or the template refuses this order of roles.
    """
    if not messages:
        raise Problem("There is no message to answer.", hint="Send at least one message.")
    try:
        more: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
        ids = base.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False, **more
        )
    except TemplateError as error:
        raise Problem(f"The chat template refuses these messages: {error}", hint="Check their roles.") from error
    return cast(list[int], ids)


def fit_chat(base: Base, messages: list[Message], limit: int) -> list[int]:
    """As `encode_chat`, in at most `limit` tokens.

    The oldest turns go first (a leading system message stays), each with the answers that followed it; if the last turn
    alone is too long, its beginning is cut, since a question usually stands at the end.

    Raises:
        Problem: the template, the system message and an empty turn already take more than `limit`.
    """
    ids = encode_chat(base, messages)
    if len(ids) <= limit:
        return ids
    fixed = 1 if messages[0]["role"] == "system" and len(messages) > 1 else 0
    head, turns = messages[:fixed], messages[fixed:]
    while len(turns) > 1:
        turns = turns[1:]
        while len(turns) > 1 and turns[0]["role"] == "assistant":
            turns = turns[1:]
        ids = encode_chat(base, [*head, *turns])
        if len(ids) <= limit:
            return ids

    last = turns[0]["content"]

    def kept(characters: int) -> list[int]:
        return encode_chat(base, [*head, {**turns[0], "content": last[len(last) - characters :]}])

    best = kept(0)
    if len(best) > limit:
        raise Problem(
            f"The messages need {len(best)} tokens before the last one's first word; there is room for {limit}.",
            hint="Shorten the system message, or give the engine a longer context.",
        )
    # More characters nearly always mean more tokens, so halving finds the longest ending that fits.
    low, high = 0, len(last)
    while low < high:
        middle = (low + high + 1) // 2
        ids = kept(middle)
        if len(ids) <= limit:
            low, best = middle, ids
        else:
            high = middle - 1
    return best
