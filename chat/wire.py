"""The bodies of the HTTP API: what a request may say. Field names are OpenAI's; ours and vLLM's are marked.

A field that would change the meaning of the answer and that this server cannot honour is refused by name; one that
changes nothing here (`user` aside: `store`, `service_tier`, `parallel_tool_calls`, ...) is accepted. A field that may
be left out may also be null, which means the same: OpenAI's description says so of nearly all, and clients send it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

NO_TOOLS = "this server calls no tools"
MOST_MESSAGES = 4096  # of one request, whatever `chat.max_messages` allows
PLAIN = "answers are plain text; ask for their form in the messages"
PENALTY = "use repetition_penalty"

# What is refused: the values that change nothing, and what to do instead.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), NO_TOOLS),
    "tool_choice": (("none", "auto"), NO_TOOLS),
    "functions": (([],), NO_TOOLS),
    "function_call": (("none", "auto"), NO_TOOLS),
    "web_search_options": ((), NO_TOOLS),
    "response_format": (({"type": "text"},), PLAIN),
    "structured_outputs": ((), PLAIN),
    "guided_json": ((), PLAIN),
    "guided_regex": ((), PLAIN),
    "guided_choice": ((), PLAIN),
    "guided_grammar": ((), PLAIN),
    "modalities": (([], ["text"]), "this server reads and writes text"),
    "audio": ((), "this server reads and writes text"),
    "logit_bias": (({},), "this server draws from the model's own logits"),
    "presence_penalty": ((0,), PENALTY),
    "frequency_penalty": ((0,), PENALTY),
    "min_tokens": ((0,), "use ignore_eos with max_tokens"),
    "stop_token_ids": (([],), "use stop, which takes texts"),
    "bad_words": (([],), "this server bans no words"),
    "use_beam_search": ((False,), "answers are sampled; temperature 0 takes the likeliest token"),
    "chat_template": ((), "the model's own template is used"),
    "continue_final_message": ((False,), "an answer begins with a turn of its own"),
    "echo": ((False,), "an answer holds the answer alone"),
}


# The kinds of part that hold text, and the key that holds it.
TEXTS = {"text": "text", "refusal": "refusal"}


class TextPart(BaseModel):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    """A piece of an assistant's content in which it refused; it is read as any other text."""

    type: Literal["refusal"]
    refusal: str


class ChatMessage(BaseModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart | RefusalPart] | None = Field(
        None, validate_default=True
    )  # an assistant's may be null
    refusal: str | None = None  # what an assistant said where its content is null

    @field_validator("role", mode="before")
    @classmethod
    def _no_tools(cls, value: Any) -> Any:
        if value in ("tool", "function"):
            raise ValueError(f"{NO_TOOLS}: leave out messages of the role {value!r}")
        return value

    @field_validator("content", mode="before")
    @classmethod
    def _text_only(cls, value: Any, told: ValidationInfo) -> Any:
        role = told.data.get("role", "assistant")
        if value is None and role != "assistant":
            raise ValueError(f"a message of the role {role!r} needs a content")
        for place, part in enumerate(value if isinstance(value, list) else []):
            kind = part.get("type") if isinstance(part, dict) else None
            if not isinstance(kind, str):
                raise ValueError(f'part {place} is no {{"type": "text", "text": ...}}')
            if kind not in TEXTS or (kind == "refusal" and role != "assistant"):
                raise ValueError(f"this server reads text, not parts of the type {kind[:40]!r}")
            if not isinstance(part.get(TEXTS[kind]), str):
                raise ValueError(f"part {place} needs a {TEXTS[kind]} that is text")
        return value

    def plain(self) -> dict[str, str]:
        """As the model's chat template takes it: {role, content}, both text.

        A line break stands between parts, as vLLM joins them: each is a text of its own. A turn without content is what
        it refused with, or empty.
        """
        match self.content:
            case None:
                text = self.refusal or ""
            case str():
                text = self.content
            case parts:
                text = "\n".join(part.text if isinstance(part, TextPart) else part.refusal for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    include_usage: bool | None = False


class TemplateOptions(BaseModel):
    """What the chat template is told (as vLLM has it)."""

    model_config = ConfigDict(extra="forbid")

    enable_thinking: bool | None = None  # for models that can think or not; None leaves the model's own way


class ChatRequest(BaseModel):
    """POST /v1/chat/completions. Fields that are not named here and not in `REFUSED` have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = "ratchet"
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(1, ge=1, le=8)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31)  # vLLM's; 0 and -1 keep all
    min_p: float | None = Field(None, ge=0, le=1)  # vLLM's
    repetition_penalty: float | None = Field(None, gt=0, le=10)  # vLLM's; 1 does nothing
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)  # only with logprobs
    ignore_eos: bool | None = False  # as vLLM has it: go on to max_tokens
    chat_template_kwargs: TemplateOptions | None = None  # vLLM's
    timeout: float | None = Field(None, gt=0, le=86_400)  # ours: seconds from now in which the answer must end
    user: str | None = Field(None, min_length=1, max_length=200)  # a person's id or name
    metadata: dict[str, Any] | None = None  # {"conversation": id} continues one

    @model_validator(mode="before")
    @classmethod
    def _meant_as_said(cls, body: Any) -> Any:
        messages = body.get("messages") if isinstance(body, dict) else None
        if isinstance(messages, list) and len(messages) > MOST_MESSAGES:  # before each of them is looked at
            raise _refused("messages", f"{len(messages)} of them; a request holds {MOST_MESSAGES} at most")
        for field, (harmless, instead) in REFUSED.items() if isinstance(body, dict) else ():
            value = body.get(field)
            if value is not None and value not in harmless:
                raise _refused(field, f"not supported here: {instead}")
        return body

    @model_validator(mode="after")
    def _listed_where_asked(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise _refused("top_logprobs", "needs logprobs: true beside it")
        return self

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > 4 or not all(stops):
            raise ValueError("at most 4 stop texts, none of them empty")
        if any("\0" in stop for stop in stops):
            raise ValueError("a stop text cannot hold a NUL character")
        return value

    @property
    def thinking(self) -> bool | None:
        """Whether the model is to think; None where the request does not say."""
        return self.chat_template_kwargs.enable_thinking if self.chat_template_kwargs else None


def _refused(field: str, why: str) -> PydanticCustomError:
    """A refusal of the whole body that still names one field."""
    return PydanticCustomError("refused", "{why}", {"field": field, "why": why})


class Opinion(BaseModel):
    """POST /v1/feedback (ours): what a person thinks of a generation."""

    model_config = ConfigDict(extra="forbid")

    id: str
    kind: str
    value: Any
    other: str | None = None
    user: str | None = Field(None, min_length=1, max_length=200)
