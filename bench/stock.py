"""TRL's own `RewardTrainer`, as it comes, on pairs: what the reward model is measured against.

It gets the same base, token ids, rank, epochs, batches and learning rate as a tuned trunk here, and nothing else of it:
its own batches (every answer as often as it is spoken of), its own loss, a score that starts at random.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import RewardTrainer

from lm.loading import Base
from reward.features import encode_pair, token_batches
from reward.settings import RewardSettings
from reward.tuned import pad_token, padded, padding_tokenizer
from reward.tuning import lora_config, trainer_arguments
from store.frozen import Pair


def stock_trainer(
    base: Base, pairs: Sequence[Pair], settings: RewardSettings, epochs: int, folder: Path
) -> RewardTrainer:
    """A trainer on pairs of which the first answer is taken for the better one; it loads the base once more."""
    rows = [
        {"chosen_ids": _ids(base, pair, pair.first, settings), "rejected_ids": _ids(base, pair, pair.second, settings)}
        for pair in pairs
    ]
    trainer = RewardTrainer(
        model=base.model.name_or_path,
        args=trainer_arguments(
            replace(settings, lora_epochs=epochs),
            base,
            folder,
            max_length=settings.context,
            learning_rate=settings.lora_learning_rate,
            weight_decay=settings.lora_weight_decay,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=padding_tokenizer(base.tokenizer),
        peft_config=lora_config(settings),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@torch.inference_mode()
def stock_margins(trainer: RewardTrainer, base: Base, pairs: Sequence[Pair], settings: RewardSettings) -> Tensor:
    """[N] score of the first answer of each pair minus that of the second."""
    ids = [_ids(base, pair, text, settings) for pair in pairs for text in (pair.first, pair.second)]
    scores = torch.zeros(len(ids))
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    for rows in token_batches([len(each) for each in ids], 8192):
        batch, mask = padded([ids[row] for row in rows], pad_token(base.tokenizer))
        found = model(input_ids=batch.to(base.device), attention_mask=mask.to(base.device), use_cache=False)
        scores[rows] = found.logits[:, 0].float().cpu()
    return scores[::2] - scores[1::2]


class StepTimes(TrainerCallback):
    """When each step of a training ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """As the trainer calls it."""
        self.ends.append(time.perf_counter())


def _ids(base: Base, pair: Pair, answer: str, settings: RewardSettings) -> list[int]:
    return encode_pair(base, pair.messages, answer, min(settings.context, base.context))[0]
