"""Who makes the answers: this process's own engine, or a server elsewhere, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lm.adapters import read_adapter
from lm.engine import BASE, Engine
from lm.figures import Figures
from lm.loading import Base, BaseText
from lm.prompts import Message
from lm.settings import Sampling
from lm.stream import Stream
from lm.threads import apart


@dataclass(frozen=True)
class Prompt:
    """What is to be answered, as turns and as the token ids that the base's own chat template makes of them."""

    messages: list[Message]
    ids: list[int]


class Backend(Protocol):
    """Makes answers for many callers at once. Thread-safe."""

    @property
    def base(self) -> BaseText:
        """The base that versions stand on."""

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may take together."""

    def start(self) -> None:
        """Be ready to answer; does nothing when called again. Problem if that cannot be."""

    def close(self) -> None:
        """Refuse new requests and end when those under way have ended."""

    def ready(self) -> bool:
        """Whether an answer could be begun now; may take a second or two to find out."""

    @property
    def failure(self) -> BaseException | None:
        """What has ended it for good, so that only a new process can answer again; None as long as it may answer."""

    def load(self, version: str, folder: Path) -> None:
        """Make the adapter in `folder` available as `version`; Problem: refused, and what serves goes on."""

    def remove(self, version: str) -> None:
        """Offer `version` no more; requests under way keep it. Problem if unknown."""

    def ask(
        self,
        prompt: Prompt,
        sampling: Sampling,
        version: str = BASE,
        person: str = "",
        deadline: float | None = None,
        door: str = "",
    ) -> Stream:
        """Begin an answer and return its stream at once.

        Args:
            person: whom fairness among requests counts it to.
            door: the key or network address that it came by, whose people together take turns with those of others.
            deadline: seconds from now after which the answer ends with what there is.

        Raises:
            Problem: the request is refused. What goes wrong later is the stream's error.
        """

    def figures(self) -> Figures:
        """What is under way, and what was done since the start."""


class OwnEngine:
    """The engine of this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def base(self) -> Base:
        return self.engine.base

    @property
    def context(self) -> int:
        return self.engine.context

    def start(self) -> None:
        self.engine.start()

    def close(self) -> None:
        self.engine.close()

    def ready(self) -> bool:
        return self.failure is None

    @property
    def failure(self) -> BaseException | None:
        return self.engine.failure

    def load(self, version: str, folder: Path) -> None:
        apart(lambda: self.engine.install(version, read_adapter(folder, self.base)))

    def remove(self, version: str) -> None:
        self.engine.remove(version)

    def ask(
        self,
        prompt: Prompt,
        sampling: Sampling,
        version: str = BASE,
        person: str = "",
        deadline: float | None = None,
        door: str = "",
    ) -> Stream:
        return self.engine.submit(prompt.ids, sampling, version, person, deadline, door)

    def figures(self) -> Figures:
        return self.engine.figures()
