"""The bodies of the HTTP API: what a request may say. Field names are OpenAI's; ours are marked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Part(BaseModel):
    """A piece of a message's content; this server reads text."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def plain(self) -> dict[str, str]:
        """As the model's chat template takes it: {role, content}, both text."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """POST /v1/chat/completions. Fields of OpenAI's that are not named here are accepted and have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str = "ratchet"
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=8)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    logprobs: bool = False
    ignore_eos: bool = False  # as vLLM has it: go on to max_tokens
    user: str | None = Field(None, min_length=1, max_length=200)  # a person's id or name
    metadata: dict[str, Any] | None = None  # {"conversation": id} continues one

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > 4 or not all(stops):
            raise ValueError("at most 4 stop texts, none of them empty")
        if any("\0" in stop for stop in stops):
            raise ValueError("a stop text cannot hold a NUL character")
        return value


class Opinion(BaseModel):
    """POST /v1/feedback (ours): what a person thinks of a generation."""

    model_config = ConfigDict(extra="forbid")

    id: str
    kind: str
    value: Any
    other: str | None = None
    user: str | None = Field(None, min_length=1, max_length=200)
