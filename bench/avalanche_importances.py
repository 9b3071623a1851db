"""Importances by Avalanche's own `EWCPlugin`; run by `bench/importances.py` in an environment of its own.

It knows nothing of Ratchet: a base's folder, a PEFT adapter's folder and token ids go in, importances come out.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

for operator in ("nms", "qnms"):  # torchvision registers them for its compiled operators, which a CPU's torch has not
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from avalanche.training.plugins import EWCPlugin  # noqa: E402 - the operators stand first
from peft import PeftModel  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402


class NextTokens(nn.Module):
    """Logits [1, T - 1, vocabulary] that predict the next token."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, ids: Tensor) -> Tensor:
        return self.policy(input_ids=ids, use_cache=False).logits[:, :-1]


def surprise(logits: Tensor, targets: Tensor) -> Tensor:
    """Minus the log-likelihood of one answer, summed over its tokens; targets outside it are -100."""
    return nn.functional.cross_entropy(logits[0], targets[0], ignore_index=-100, reduction="sum")


def main() -> None:
    """Arguments: base, adapter, sequences.safetensors (tokens, lengths, starts), file for the result, number format."""
    base, adapter, sequences, out, dtype = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    policy = NextTokens(PeftModel.from_pretrained(model, adapter, is_trainable=True).to(getattr(torch, dtype)))
    stored = load_file(sequences)
    rows = []
    for ids, start in zip(stored["tokens"].split(stored["lengths"].tolist()), stored["starts"].tolist(), strict=True):
        targets = ids[1:].long()
        targets[: start - 1] = -100
        rows.append((ids.long(), targets, 0))
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=1.0)
    begun = time.perf_counter()
    found = EWCPlugin(1.0).compute_importances(policy, surprise, optimizer, rows, "cpu", 1)
    seconds = time.perf_counter() - begun
    kept = {name.removeprefix("policy."): value.data.contiguous() for name, value in found.items() if "lora_" in name}
    save_file(kept, Path(out), metadata={"seconds": str(seconds)})


if __name__ == "__main__":
    main()
