"""The starter's recipe: its shape, its loss, its optimizers and its schedule, every knob in one place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lm.starter.batches import UNLEARNED


@dataclass(frozen=True)
class Recipe:
    """Every knob of the training."""

    hidden: int = 192  # width
    layers: int = 6  # depth
    heads: int = 3  # attention heads
    inner: int = 512  # width inside the gated MLP
    context: int = 1024  # positions that the model accepts
    batch_tokens: int = 4096  # padded tokens a batch and process
    muon_rate: float = 0.02  # learning rate of the layers' matrices
    adam_rate: float = 0.004  # learning rate of embeddings and norms
    weight_decay: float = 0.02  # of the layers' matrices
    warmup: float = 0.02  # share of the run until the full rate
    decay: float = 0.65  # share of the run, at its end, over which the rate falls to zero
    clip: float = 1.0  # largest norm of the gradient
    compile: bool = False  # torch.compile the loss: a fifth faster on long runs, half a minute slower to begin
    checkpoint_minutes: float = 2.0  # between checkpoints
    log_steps: int = 50  # between lines of loss.jsonl


class AnswerLoss(nn.Module):
    """Mean cross-entropy of the learned tokens; the head runs on their positions only, which saves a third of it."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        # No attention mask: padding stands on the right, so no earlier position sees it.
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        learned = targets != UNLEARNED
        return nn.functional.cross_entropy(self.model.lm_head(hidden[learned]).float(), targets[learned])


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model in fp32, initialised from torch's present random state."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def optimizers(recipe: Recipe, model: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for the matrices, AdamW for the rest."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in named if p.ndim != 2 or ".layers." not in name]
    return (
        torch.optim.Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    )


def rate(recipe: Recipe, done: float) -> float:
    """Factor on the learning rates when the share `done` (0 to 1) of the run is over."""
    return max(0.0, min(1.0, (done + 1e-4) / recipe.warmup, (1 - done) / recipe.decay))
