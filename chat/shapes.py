"""The bodies of the HTTP API: what an answer says. They describe the API; OpenAI's names, ours are marked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """An object that holds these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class ErrorFields(Shape):
    """What went wrong."""

    message: str  # a sentence for people
    type: str
    param: str | None  # the field of the request that it is about
    code: str | None  # a word for programs


class Error(Shape):
    """The body of every answer from 400 up."""

    error: ErrorFields


class TopLogprob(Shape):
    """One of the likeliest tokens at a position."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]


class Logprobs(Shape):
    """The tokens of the answer, those of its thinking included; special tokens are not listed."""

    content: list[TokenLogprob]
    refusal: None


class AnswerMessage(BaseModel):
    """An assistant's turn. `reasoning_content` (vLLM's) is there only where the model thought."""

    role: Literal["assistant"]
    content: str
    refusal: None
    reasoning_content: str = ""


class Choice(Shape):
    """One answer."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: Logprobs | None
    generation: str  # ours: the id to rate it by


class PromptDetails(Shape):
    """Of the prompt's tokens, those that had been read before."""

    cached_tokens: int


class Usage(Shape):
    """Tokens read and drawn."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatCompletion(Shape):
    """A whole answer, or several."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str  # the version that answered
    conversation: str  # ours: to go on in with metadata.conversation
    choices: list[Choice]
    usage: Usage


class Model(Shape):
    """A name that can be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Shape):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class RatingShape(Shape):
    """A rating in the store."""

    id: int
    generation: str
    kind: str
    value: Any
    other: str | None
    created: int  # seconds since 1970


class RatingList(Shape):
    """One's present ratings of an answer."""

    object: Literal["list"]
    data: list[RatingShape]


class Withdrawn(Shape):
    """A rating that no longer counts."""

    generation: str
    kind: str
    other: str | None
    withdrawn: Literal[True]


class Refused(Shape):
    """A version that could not be loaded."""

    version: int
    why: str


class Health(Shape):
    """Alive, and what serves."""

    ok: Literal[True]
    version: int
    model: str
    refused: list[Refused]


class Readiness(Shape):
    """Whether requests are answered."""

    ready: bool
    version: int
