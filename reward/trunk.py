"""What turns answers into features: the frozen trunk as it is, or one that was tuned (`reward.tuned`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from lm.loading import Base
from lm.prompts import Message
from reward.features import trunk_features


class Trunk(Protocol):
    """A trunk under the heads."""

    @property
    def base(self) -> Base:
        """The language model that it stands on."""

    @property
    def regime(self) -> str:
        """heads or lora."""

    def features(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """[N, D] features of N answers to N prompts, and [N] tokens of each."""

    def save(self, folder: Path, score_weight: Tensor) -> None:
        """Keep what is not the base's in a folder; `score_weight` [D] is the heads' mean on raw features."""


@dataclass(frozen=True)
class FrozenTrunk:
    """The base with every adapter off: nothing of its own to keep."""

    base: Base
    context: int
    regime: str = "heads"

    def features(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """[N, D] features of N answers to N prompts, and [N] tokens of each."""
        return trunk_features(self.base, prompts, answers, context=self.context, progress=progress)

    def save(self, folder: Path, score_weight: Tensor) -> None:
        """Nothing: the heads are all there is."""
