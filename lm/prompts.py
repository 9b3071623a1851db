"""From messages to the token ids that the model reads: chat template, and what to leave out when it is too long."""

from __future__ import annotations

from jinja2 import TemplateError

from lm.templates import Message as Message
from lm.templates import encode
from lm.thinking import Spoken, thinking_marks, without_thinking
from problems import Problem


class PromptTooLong(Problem):
    """A prompt that cannot be shortened far enough; `least` is how many tokens it takes at least."""

    def __init__(self, message: str, *, hint: str, least: int) -> None:
        super().__init__(message, hint=hint)
        self.least = least


def encode_chat(base: Spoken, messages: list[Message], thinking: bool | None = None) -> list[int]:
    """Token ids of `messages` ({"role", "content"}) in the base's chat template, ending where the answer begins.

    Every text is kept, in the roles and the order that the template takes (see `lm.templates.arranged`), except for the
    thinking of earlier answers. `thinking` turns the block on or off where the template lets a request choose; None
    leaves the template's own choice.

    Raises:
        Problem: no message, or the template refuses this order of roles.
    """
    if not messages:
        raise Problem("There is no message to answer.", hint="Send at least one message.")
    marks = thinking_marks(base, thinking)
    spoken = [
        {**message, "content": without_thinking(marks, message["content"])}
        if message["role"] == "assistant" else message
        for message in messages
    ]  # fmt: skip
    options = {} if thinking is None else {"enable_thinking": thinking}
    try:
        return encode(base.tokenizer, spoken, **options)
    except TemplateError as error:
        raise Problem(f"The chat template refuses these messages: {error}", hint="Check their roles.") from error


def fit_chat(
    base: Spoken,
    messages: list[Message],
    limit: int,
    thinking: bool | None = None,
    raise_limit: str = "give the engine a longer context",
) -> list[int]:
    """As `encode_chat`, in at most `limit` tokens.

    The oldest turns go first (a leading system message stays), each with the answers that followed it; if the last turn
    alone is too long, its beginning is cut, since a question usually stands at the end.

    `raise_limit` says in a failure's hint what to do for a larger limit.

    Raises:
        PromptTooLong: the template, the system message and an empty turn already take more than `limit`.
        Problem: as `encode_chat`.
    """
    ids = encode_chat(base, messages, thinking)
    if len(ids) <= limit:
        return ids
    fixed = 1 if messages[0]["role"] == "system" and len(messages) > 1 else 0
    head, turns = messages[:fixed], messages[fixed:]
    while len(turns) > 1:
        turns = turns[1:]
        while len(turns) > 1 and turns[0]["role"] == "assistant":
            turns = turns[1:]
        ids = encode_chat(base, [*head, *turns], thinking)
        if len(ids) <= limit:
            return ids

    last = turns[0]["content"]

    def kept(characters: int) -> list[int]:
        return encode_chat(base, [*head, {**turns[0], "content": last[len(last) - characters :]}], thinking)

    best = kept(0)
    if len(best) > limit:
        raise PromptTooLong(
            f"The messages need {len(best)} tokens before the last one's first word; there is room for {limit}.",
            hint=f"Shorten the system message, or {raise_limit}.",
            least=len(best),
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
