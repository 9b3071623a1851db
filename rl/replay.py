"""Replay: old prompts with the parent version's own answers, and the exact KL from the parent on them.

A KL on the prompts of today does not protect what was learned on those of yesterday; one on replayed old prompts does
[arXiv 2607.04364]. At every position of a replayed answer the sum over the vocabulary is exact, only the path is a
sample, and it is the parent's: the sum over positions estimates KL(parent || policy) in nats an answer without bias.
Elastic weight consolidation is its second-order form, so both strengths have one unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lm.likelihood import Batch, Completed, batches
from lm.output_head import tiles
from rl.anchor import adapter_parameters, frozen_head


@dataclass(frozen=True)
class Replay:
    """Old prompts with the parent's answers at temperature 1, and the parent's A and B matrices by parameter name."""

    sequences: list[Completed]
    parent: dict[str, Tensor]

    def save(self, file: Path) -> None:
        """Write as safetensors: all tokens in a row, with lengths and starts."""
        tensors = {
            "tokens": torch.tensor([token for tokens, _ in self.sequences for token in tokens], dtype=torch.int32),
            "lengths": torch.tensor([len(tokens) for tokens, _ in self.sequences], dtype=torch.int32),
            "starts": torch.tensor([start for _, start in self.sequences], dtype=torch.int32),
        }
        tensors |= {f"parent/{name}": value.contiguous().cpu() for name, value in self.parent.items()}
        save_file(tensors, file)


def load_replay(file: Path) -> Replay:
    """Read what `Replay.save` wrote."""
    tensors = load_file(file)
    rows = tensors["tokens"].split(tensors["lengths"].tolist())
    return Replay(
        [(row.tolist(), start) for row, start in zip(rows, tensors["starts"].tolist(), strict=True)],
        {name.removeprefix("parent/"): value for name, value in tensors.items() if name.startswith("parent/")},
    )


class ParentKL:
    """KL(parent || policy) on replayed answers, and its gradient.

    The parent's last hidden states at the answers' positions are computed once, [positions, width] an answer; logits
    of both are made from hidden states by the one frozen head, a tile of positions at a time, and never kept.

    Args:
        model: the policy; its adapter is left as it is.
        replay: the answers.
        pad_id: token that fills up shorter sequences.
        batch: sequences a pass over the parent.

    Raises:
        Problem: the adapter changes the output head.
    """

    def __init__(self, model: PeftModel, replay: Replay, pad_id: int, batch: int) -> None:
        self.model, self.replay, self.pad_id = model, replay, pad_id
        self._head = frozen_head(model)
        self._parents: list[Tensor] = [torch.empty(0)] * len(replay.sequences)
        with torch.no_grad(), _standing_at(model, replay.parent), _evaluating(model):
            for rows in batches(replay.sequences, pad_id, batch, self._device):
                hidden = self._hidden(rows)
                for i, place in enumerate(rows.rows):
                    self._parents[place] = hidden[i][rows.scored[i]].clone()

    def gradient(self, places: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the KL over the replayed answers at `places`, nats, and its gradient by adapter parameter's name."""
        parameters = adapter_parameters(self.model)
        (rows,) = batches([self.replay.sequences[place] for place in places], self.pad_id, len(places), self._device)
        theirs = torch.cat([self._parents[places[row]] for row in rows.rows])
        with torch.enable_grad(), _evaluating(self.model):
            ours = self._hidden(rows)[rows.scored]
            kl, by_state = self._through_head(ours.detach(), theirs)
            gradients = torch.autograd.grad(ours, list(parameters.values()), by_state, allow_unused=True)
        named = zip(parameters, gradients, parameters.values(), strict=True)
        return kl, {name: torch.zeros_like(p) if value is None else value for name, value, p in named}

    @property
    def _device(self) -> torch.device:
        return self.model.get_base_model().device

    def _hidden(self, rows: Batch) -> Tensor:
        return self._head.hidden_states(rows.ids, rows.reads)

    def _through_head(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """Summed KL of hidden states [N, width] and its gradient in those of the policy [N, width]."""
        total = ours.new_zeros((), dtype=torch.promote_types(ours.dtype, torch.float32))
        gradients: list[Tensor] = []
        for mine, parent in tiles(self._head.vocabulary, ours, theirs):
            mine = mine.requires_grad_()
            with torch.no_grad():
                logp = self._head(parent)
            logq = self._head(mine)
            kl = (logp.exp() * (logp - logq)).sum()
            gradients += torch.autograd.grad(kl, mine)
            total += kl.detach()
        return total, torch.cat(gradients)


@contextmanager
def _standing_at(model: nn.Module, matrices: dict[str, Tensor]) -> Iterator[None]:
    """The adapter holds `matrices` inside, and what it held before again after."""
    parameters = adapter_parameters(model)
    held = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data.copy_(matrices[name])
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data.copy_(held[name])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
