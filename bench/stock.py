"""TRL's own `RewardTrainer`, as it comes, on pairs: what the reward model is measured against.

It gets the same base, token ids, rank, epochs, batches and learning rate as a tuned trunk here, and nothing else of it:
its own batches (every answer as often as it is spoken of), its own loss, a score that starts at random.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import RewardConfig, RewardTrainer

from lm.loading import Base
from reward.features import encode_pair, token_batches
from reward.settings import RewardSettings
from reward.tuned import SCORE, pad_token, padded, padding_tokenizer
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
        args=RewardConfig(
            output_dir=str(folder),
            seed=settings.seed,
            use_cpu=base.device.type == "cpu",
            bf16=base.model.dtype == torch.bfloat16,
            max_length=settings.context,
            num_train_epochs=epochs,
            per_device_train_batch_size=settings.lora_batch_size,
            learning_rate=settings.lora_learning_rate,
            weight_decay=settings.lora_weight_decay,
            lr_scheduler_type="linear",
            warmup_steps=settings.lora_warmup,
            max_grad_norm=settings.lora_max_grad_norm,
            activation_checkpointing=settings.lora_recompute,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=base.device.type != "cpu",
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=padding_tokenizer(base.tokenizer),
        peft_config=LoraConfig(
            task_type="SEQ_CLS",
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            modules_to_save=[SCORE],
        ),
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
