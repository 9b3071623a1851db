"""One run of our `PPOTrainer` on a task; `bench/ppo.py` starts it as a process of its own."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppo_task import Meter, Task, read_task, rewards
from transformers import AutoModel, PrinterCallback

from lm.likelihood import Batch
from lm.loading import Base, load_base
from rl.arguments import prompt_stream, trainer_arguments
from rl.policy import make_policy
from rl.ppo import PPOTrainer
from rl.rollout import make_rollouts
from rl.settings import PPOSettings
from rl.token_scores import TokenScores

FOREVER = 10**9


def settings(task: Task) -> PPOSettings:
    """The task in the trainer's words; what the other trainer does not have is off: warm-up, controller, early stop."""
    plain = PPOSettings(
        updates=task.updates,
        episodes=task.episodes,
        minibatch=task.minibatch,
        epochs=task.epochs,
        learning_rate=task.learning_rate,
        stop_kl=0.0,
        value_weight=task.value_weight,
        value_warmup=0,
        kl=task.kl,
        kl_horizon=float(FOREVER),
        missing_eos=0.0,
        temperature=task.temperature,
        max_tokens=task.new_tokens,
        prompt_tokens=task.longest_prompt,
        rank=task.rank,
        alpha=task.alpha,
    )
    return replace(plain, rollouts=task.variant.get("rollouts", "engine"))


class SeparateCritic(PPOTrainer):
    """Ours without its shared trunk: the critic reads a trunk of its own, trained in full, as the other trainer's."""

    def _score(self, model: Any, batch: Batch) -> TokenScores:
        scores = super()._score(model, batch)
        if "ref" in self.accelerator.unwrap_model(self.model).active_adapters:
            return scores  # nobody asks the reference for values
        with self.accelerator.autocast():
            read = self.critic.trunk(input_ids=batch.ids, attention_mask=batch.reads, use_cache=False)
        return replace(scores, values=self.critic(read.last_hidden_state[:, :-1][batch.scored]))


def trainer(task: Task, meter: Meter, base: Base, folder: Path) -> PPOTrainer:
    """Without checkpoints, which the other trainer does not write in a run either."""
    knobs = settings(task)
    arguments = trainer_arguments(
        knobs, folder, seed=task.seed, cpu=task.device == "cpu", bf16=task.dtype == "bfloat16"
    )
    arguments.save_strategy, arguments.report_to = "no", []

    def pay(completion_ids: list[list[int]], **_: Any) -> list[float]:
        paid = rewards(completion_ids, task.new_tokens)
        meter.scores.append(sum(paid) / len(paid))
        return paid

    separate = task.variant.get("critic") == "separate"
    made = (SeparateCritic if separate else PPOTrainer)(
        model=make_policy(base, None, knobs, task.seed),
        tokenizer=base.tokenizer,
        settings=knobs,
        arguments=arguments,
        prompts=prompt_stream([[{"role": "user", "content": text}] for text in task.prompts], knobs, task.seed),
        reward=pay,
        rollout=make_rollouts(base, knobs, task.seed, None, folder),
    )
    if separate:
        made.critic.trunk = AutoModel.from_pretrained(task.model, dtype="float32").to(base.device)
    made.remove_callback(PrinterCallback)
    return made


def main() -> None:
    """Train, and print what was measured."""
    task = read_task()
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    base = load_base(task.model, task.device, task.dtype)
    meter = Meter(task.device)
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(task, meter, base, Path(folder))
        meter.run(made.train, task.episodes * task.updates)


if __name__ == "__main__":
    main()
