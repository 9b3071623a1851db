"""One run of TRL's own `PPOTrainer` on a task; `bench/ppo.py` starts it beside the last TRL that has it.

As in TRL's example: LoRA on the policy, whose adapters switched off are the reference; a value model of its own,
trained in full; the reward as a module. A base in bfloat16 is computed with under autocast, and the value model's
weights stay in float32: a step of AdamW is below bfloat16's precision. Gradient checkpointing, on by default, costs
generation its cache; it and tables of samples are off.
"""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from ppo_task import Meter, Task, chosen, read_task
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Programme(nn.Module):
    """The reward as TRL wants it: a trunk whose last hidden state at a position is what the answer is worth so far."""

    base_model_prefix = "trunk"

    def __init__(self, task: Task, meter: Meter) -> None:
        super().__init__()
        self.trunk, self.score = Counter(task), Paid(meter)


class Counter(nn.Module):
    """Counts the chosen tokens behind the prompt."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.start, self.new_tokens = task.longest_prompt, task.new_tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SimpleNamespace:
        """[B, P + T] ids; hidden states [B, P + T, 1]."""
        paid = chosen(input_ids) & attention_mask.bool()
        paid[:, : self.start] = False
        return SimpleNamespace(hidden_states=[(paid.cumsum(1) / self.new_tokens).unsqueeze(-1)])


class Paid(nn.Module):
    """Hands the counts on; the largest of a row is its answer's reward."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, P + T, 1] as it came."""
        self.meter.scores.append(float(hidden[:, -1, 0].mean()))
        return hidden


def trainer(task: Task, meter: Meter, policy: Any, folder: str) -> PPOTrainer:
    """Every minibatch is an optimizer step: with TRL's own accumulation a whole rollout would be one."""
    tokenizer = AutoTokenizer.from_pretrained(task.model, padding_side="left")
    value_dtype = task.variant.get("value_dtype", "float32")
    value = AutoModelForSequenceClassification.from_pretrained(task.model, num_labels=1, dtype=value_dtype)
    arguments = PPOConfig(
        output_dir=folder,
        seed=task.seed,
        use_cpu=task.device == "cpu",
        bf16=task.variant.get("autocast", task.dtype == "bfloat16"),
        learning_rate=task.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        per_device_train_batch_size=task.episodes,
        gradient_accumulation_steps=1,
        num_mini_batches=task.episodes // task.minibatch,
        num_ppo_epochs=task.epochs,
        total_episodes=task.episodes * task.updates,
        local_rollout_forward_batch_size=task.episodes,
        num_sample_generations=0,
        response_length=task.new_tokens,
        stop_token="eos",
        temperature=task.temperature,
        kl_coef=task.kl,
        vf_coef=task.value_weight,
        gradient_checkpointing=task.variant.get("checkpointing", False),
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(r=task.rank, lora_alpha=task.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    made = PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=policy,
        ref_model=None,
        reward_model=Programme(task, meter),
        train_dataset=Dataset.from_dict({"input_ids": task.prompt_ids}),
        value_model=value,
        data_collator=DataCollatorWithPadding(tokenizer, padding="max_length", max_length=task.longest_prompt),
        peft_config=lora if task.variant.get("lora", True) else None,
    )
    made.callback_handler.remove_callback(PrinterCallback)
    return made


def main() -> None:
    """Train, and print what was measured."""
    task = read_task()
    policy = AutoModelForCausalLM.from_pretrained(task.model, dtype=task.dtype)
    meter = Meter(task.device)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(task.seed)
        made = trainer(task, meter, policy, folder)
        meter.run(made.train, task.episodes * task.updates)


if __name__ == "__main__":
    main()
