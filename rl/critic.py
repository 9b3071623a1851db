"""The critic: a small head that reads the policy's own trunk, so that values cost no second model."""

from __future__ import annotations

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
        """Values [N] of hidden states [N, width], in the critic's own precision whatever the trunk's is."""
        with torch.autocast(hidden.device.type, enabled=False):
            states = hidden.to(self.inner.weight.dtype)
            return self.outer(torch.tanh(self.inner(states))).squeeze(-1)
