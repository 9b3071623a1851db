"""Replay: old prompts with the parent version's own answers, and the exact KL from the parent on them.

A KL on the prompts of today does not protect what was learned on those of yesterday; one on replayed old prompts does
[arXiv 2607.04364]. At every position of a replayed answer the sum over the vocabulary is exact, only the path is a
sample, and it is the parent's: the sum over positions estimates KL(parent || policy) in nats an answer without bias.
Elastic weight consolidation is its second-order form, so both strengths have one unit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from lm.likelihood import Batch, Completed, batches
from problems import Problem
from rl.anchor import adapter_parameters

CHUNK = 2**22  # logits that are held at a time: 16 MB of float32


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
    of both are made from hidden states by the one frozen head, a few positions at a time, and never kept.

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
        base = model.get_base_model()
        self._trunk = base.base_model
        self._head = _Head(base)
        self._parents: list[Tensor] = [torch.empty(0)] * len(replay.sequences)
        with torch.no_grad(), _standing_at(model, replay.parent), _evaluating(model):
            for rows in batches(replay.sequences, pad_id, batch, base.device):
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
        """Last hidden states [B, T - 1, width] that predict the next tokens. `forward` itself is called: whoever
        reads the trunk through hooks reads rollouts, not this.
        """
        states = self._trunk.forward(input_ids=rows.ids, attention_mask=rows.reads, use_cache=False)
        return states.last_hidden_state[:, :-1]

    def _through_head(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """Summed KL of hidden states [N, width] and its gradient in those of the policy [N, width]."""
        size = max(1, CHUNK // self.model.get_base_model().config.get_text_config().vocab_size)
        total, gradients = ours.new_zeros((), dtype=torch.promote_types(ours.dtype, torch.float32)), []
        for mine, parent in zip(ours.split(size), theirs.split(size), strict=True):
            mine = mine.requires_grad_()
            with torch.no_grad():
                logp = self._head(parent)
            logq = self._head(mine)
            kl = (logp.exp() * (logp - logq)).sum()
            gradients += torch.autograd.grad(kl, mine)
            total += kl.detach()
        return total, torch.cat(gradients)


class _Given(nn.Module):
    """Stands where the trunk would, and answers with hidden states that are given."""

    hidden: Tensor

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=self.hidden)


class _Head:
    """A causal language model's own way from hidden states [N, width] to log-probabilities [N, vocabulary], float32
    or better.

    The model's class does it, so that whatever it puts after its head (scales, soft caps) is there. It runs in a shell
    that shares everything but the trunk, and none of the wrappers that a trainer put around `forward`.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        if hasattr(base.get_output_embeddings(), "lora_A"):
            raise Problem(
                "The policy's adapter changes the output head, and replay needs it as the parent had it.",
                hint="Train without the head, or set anchor.replay to 0.",
                status=2,
            )
        self.given = _Given()
        self.shell = copy.copy(base)
        self.shell.__dict__.pop("forward", None)
        self.shell._modules = {**base._modules, base.base_model_prefix: self.given}

    def __call__(self, hidden: Tensor) -> Tensor:
        self.given.hidden = hidden[None]
        logits: Tensor = self.shell(use_cache=False).logits[0]
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


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
