"""Adapters with random matrices, for measurements: rank 16 on every linear layer but the head."""

from __future__ import annotations

import torch
from torch import nn

from lm.adapters import Adapter
from lm.loading import Base

RANK, ALPHA = 16, 32.0
STRENGTH = 0.15  # enough to change most answers of the starter


def random_adapter(base: Base, seed: int) -> Adapter:
    """The same for the same seed."""
    random = torch.Generator().manual_seed(seed)
    head = base.model.get_output_embeddings()
    weights = {}
    for path, module in base.model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            a = torch.randn(RANK, module.in_features, generator=random) / module.in_features**0.5
            weights[path] = (a, STRENGTH * torch.randn(module.out_features, RANK, generator=random))
    return Adapter(RANK, ALPHA, weights)
