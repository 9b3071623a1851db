"""The critic: a small head that reads the policy's own trunk, so that values cost no second model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Two-layer perceptron from a hidden state to the value of the state that it stands for.

    Args:
        width: hidden size of the trunk.
        hidden: units of the inner layer.
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Values [B, T] of hidden states [B, T, width]."""
        return self.outer(torch.tanh(self.inner(hidden))).squeeze(-1)


class TrunkReader:
    """Runs the critic on the last hidden states of every forward pass of a backbone.

    The hidden states are detached: the value loss trains the critic alone and never moves the policy, so the anchor and
    the KL have one gradient to hold, not two.

    Args:
        backbone: module whose output has `last_hidden_state`.
        critic: the head; its parameters are held in the precision that they were made in.
    """

    def __init__(self, backbone: nn.Module, critic: Critic) -> None:
        self.critic = critic
        self._values: list[Tensor] = []
        backbone.register_forward_hook(self._read)

    def _read(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        hidden = output.last_hidden_state.detach().to(self.critic.inner.weight.dtype)
        self._values.append(self.critic(hidden))

    def take(self, tokens: int) -> Tensor:
        """Values [B, tokens] before each of the last `tokens` tokens, of all passes since the last call.

        The value before a token is read at the position that predicts it.
        """
        values = torch.cat([passed[:, -tokens - 1 : -1] for passed in self._values])
        self._values.clear()
        return values
