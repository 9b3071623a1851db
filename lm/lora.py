"""Several LoRA adapters in one batch, each row its own, at the price of one.

The adapters in use stand side by side: with A = [A1; A2; ...] and B = [B1, B2, ...], a row's low-rank state x Aᵀ keeps
only its own adapter's ranks, the others are zeroed, before it meets Bᵀ. Two matrix products a module, however many
adapters share the batch. The scale alpha / rank is folded into B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm.adapters import Adapter, dimensions
from problems import Problem


@dataclass(frozen=True, eq=False)
class Version:
    """An installed adapter: matrices in the model's number format, on its device; none for the bare base.

    Requests hold the version that they began with; when the last lets go of a removed one, its memory is freed.
    """

    name: str
    rank: int
    weights: dict[str, tuple[Tensor, Tensor]]


@dataclass
class RowChoice:
    """Which adapter each row of the coming forward uses, shared by every module."""

    active: bool = False  # whether any row uses an adapter
    foreign: Tensor | None = None  # [rows, 1, ranks], true at other rows' ranks; None when all rows use the one adapter


class RowLora(nn.Module):
    """A linear module whose rows each add their own adapter's change."""

    def __init__(self, inner: nn.Module, choice: RowChoice) -> None:
        super().__init__()
        self.inner = inner
        self.choice = choice
        self.a: Tensor | None = None  # [ranks, in]
        self.b: Tensor | None = None  # [out, ranks]

    def forward(self, x: Tensor) -> Tensor:
        """x: [rows, tokens, in]; returns [rows, tokens, out]."""
        out: Tensor = self.inner(x)
        if self.a is None or self.b is None or not self.choice.active:
            return out
        low = F.linear(x, self.a)
        if self.choice.foreign is not None:
            # Filled, not multiplied: what overflows in one adapter must not reach other rows as infinity times 0.
            low = low.masked_fill_(self.choice.foreign, 0)
        return out + F.linear(low, self.b)


class AdapterBank:
    """Puts adapters into a model's modules, between steps."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._choice = RowChoice()
        self._wrapped: dict[str, RowLora] = {}
        self._standing: tuple[Version, ...] = ()
        self._uses: list[bool] = []
        self._foreign: Tensor | None = None

    def prepare(self, name: str, adapter: Adapter | None) -> Version:
        """A copy of `adapter` ready to run; may be called from any thread, touches nothing that runs.

        Raises:
            Problem: its numbers do not fit in the model's number format.
        """
        if adapter is None:
            return Version(name, 0, {})
        scale, weights = adapter.alpha / adapter.rank, {}
        for path, (a, b) in adapter.weights.items():
            at = self._weight(path)
            ours = (
                a.detach().to(at.device, at.dtype, copy=True),
                (b.detach().to(at.device, torch.float32) * scale).to(at.dtype),
            )
            if not all(bool(torch.isfinite(half).all()) for half in ours):
                raise Problem(f"The adapter's numbers at {path} are too large to serve.", hint="Its training diverged.")
            weights[path] = ours
        return Version(name, adapter.rank, weights)

    def activate(self, rows: Sequence[Version]) -> None:
        """Set the version of each row of the batch; must not run during a forward."""
        distinct = tuple(dict.fromkeys(version for version in rows if version.weights))
        if distinct != self._standing:
            self._stand(distinct)
        self._uses = [bool(version.weights) for version in rows]
        self._foreign = None
        if len(distinct) > 1 or (distinct and not all(self._uses)):
            kept = {version: index for index, version in enumerate(distinct)}
            owner = torch.tensor([index for version, index in kept.items() for _ in range(version.rank)])
            mine = torch.tensor([kept.get(version, -1) for version in rows])
            at = self._weight(next(iter(distinct[0].weights)))
            self._foreign = (mine[:, None] != owner[None, :]).to(at.device).unsqueeze(1)

    def select(self, first: int, last: int) -> None:
        """Announce a forward of rows `first` to `last` (exclusive) of the batch set by `activate`."""
        self._choice.active = any(self._uses[first:last])
        self._choice.foreign = None if self._foreign is None else self._foreign[first:last]

    def _stand(self, versions: tuple[Version, ...]) -> None:
        for path in {path for version in versions for path in version.weights} - self._wrapped.keys():
            self._wrapped[path] = self._wrap(path)
        for path, module in self._wrapped.items():
            pairs = [version.weights.get(path) for version in versions]
            held = next((pair for pair in pairs if pair is not None), None)
            if held is None:
                module.a = module.b = None
            elif len(pairs) == 1:
                module.a, module.b = held
            else:
                # A version that leaves this module alone fills its ranks with zeros: one mask then serves all modules.
                blanks = [(version.rank, pair) for version, pair in zip(versions, pairs, strict=True)]
                module.a = torch.cat(
                    [pair[0] if pair else held[0].new_zeros(r, held[0].shape[1]) for r, pair in blanks]
                )
                module.b = torch.cat(
                    [pair[1] if pair else held[1].new_zeros(held[1].shape[0], r) for r, pair in blanks], dim=1
                )
        self._standing = versions

    def _wrap(self, path: str) -> RowLora:
        holder_path, _, name = path.rpartition(".")
        holder = self._model.get_submodule(holder_path)
        inner = getattr(holder, name)
        if dimensions(inner) is None:  # the output head, behind what picks its rows
            holder, name, inner = inner, "inner", inner.inner
        module = RowLora(inner, self._choice)
        setattr(holder, name, module)
        return module

    def _weight(self, path: str) -> Tensor:
        module = self._model.get_submodule(path)
        while dimensions(module) is None:
            module = module.get_submodule("inner")
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight
