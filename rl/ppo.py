"""PPO as a subclass of TRL's maintained `GRPOTrainer`.

What TRL does: batches, optimizer, Accelerate, logging, the clipped policy loss, the reference pass (a frozen copy of
the adapter as it was at the start). What is added: rollouts by the engine, a critic on the policy's trunk, token-level
rewards with the KL in them, generalised advantages in place of group-relative ones, the value loss, the adaptive KL
controller, and checkpoints that hold the critic and the controller.

One rollout in order: `_generate_and_score_completions` (engine, rewards, log-probabilities and values, advantages),
then for each minibatch of each epoch `_compute_loss`, then the optimizer step.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from trl import GRPOConfig, GRPOTrainer

from problems import Problem
from rl.advantages import AdaptiveKL, clipped_value_loss, generalised_advantages, normalised, token_rewards
from rl.critic import Critic, TrunkReader
from rl.minibatches import minibatch_rows, take_rows
from rl.settings import PPOSettings

COMPLETE = "ppo.json"  # the last file that a checkpoint gets

RewardFunction = Callable[..., list[float]]
RolloutFunction = Callable[[list[Any], GRPOTrainer], dict[str, Any]]


def trainer_arguments(settings: PPOSettings, folder: Path, *, seed: int, cpu: bool, processes: int = 1) -> GRPOConfig:
    """The settings in TRL's words. GRPO's own schemes (group scaling, its KL loss) are off or overridden.

    Args:
        processes: how many share each minibatch.

    Raises:
        Problem: the rollout cannot be cut into minibatches, or a minibatch into the processes' shares (status 2).
    """
    if settings.episodes % settings.minibatch or settings.minibatch % 2:
        raise Problem(
            f"ppo.episodes is {settings.episodes} and ppo.minibatch {settings.minibatch}.",
            hint="Make both even, and episodes a multiple of minibatch.",
            status=2,
        )
    if settings.minibatch % processes:
        raise Problem(
            f"ppo.minibatch is {settings.minibatch}, which {processes} processes cannot share evenly.",
            hint="Make it a multiple of the number of processes.",
            status=2,
        )
    minibatches = settings.episodes // settings.minibatch
    if minibatches * settings.epochs < 2:
        raise Problem(
            "PPO needs two optimizer steps a rollout or more.",
            hint="Raise ppo.epochs or lower ppo.minibatch.",
            status=2,
        )
    return GRPOConfig(
        output_dir=str(folder),
        seed=seed,
        use_cpu=cpu,
        bf16=False,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        per_device_train_batch_size=settings.minibatch // processes,
        gradient_accumulation_steps=1,
        steps_per_generation=minibatches,
        num_iterations=settings.epochs,
        num_generations=2,
        max_steps=settings.updates * minibatches * settings.epochs,
        max_completion_length=settings.max_tokens,
        temperature=settings.temperature,
        epsilon=settings.clip,
        beta=settings.kl,
        loss_type="dapo",
        scale_rewards="none",
        activation_checkpointing=False,
        shuffle_dataset=False,
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=settings.save_every * minibatches * settings.epochs,
        logging_steps=minibatches * settings.epochs,
        report_to="tensorboard",
        disable_tqdm=True,
        dataloader_pin_memory=not cpu,
        # The values leave the model by a hook: DDP, looking through the outputs alone, would take the critic for unused.
        ddp_find_unused_parameters=False,
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in `folder`, or None. What was cut short while it was written is not one."""
    complete = [each.parent for each in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{COMPLETE}")]
    return max(complete, key=lambda each: int(each.name.rpartition("-")[2]), default=None)


def prompt_stream(prompts: Sequence[Sequence[dict[str, str]]], settings: PPOSettings, seed: int) -> Dataset:
    """The prompts of a whole training in the order that they are asked, each rollout's together.

    One pass over this dataset is the whole training. TRL's sampler would shuffle anew after each pass over a shorter
    one, and a training resumed after the first pass would see other prompts than one that was never stopped.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = settings.updates * settings.episodes // 2  # each prompt is answered twice
    order: list[int] = []
    while len(order) < wanted:
        order += torch.randperm(len(prompts), generator=generator).tolist()
    return Dataset.from_list([{"prompt": list(prompts[i])} for i in order[:wanted]])


class PPOTrainer(GRPOTrainer):
    """PPO with a critic on the shared trunk.

    Args:
        model: policy, a PEFT model; TRL keeps a frozen copy of its adapter as the reference.
        tokenizer: of the base.
        settings: knobs of PPO.
        arguments: from `trainer_arguments`.
        prompts: dataset with a column `prompt` of messages, from `prompt_stream`.
        reward: called with prompts, completions (conversational), completion_ids; returns one reward an answer.
        rollout: returns prompt_ids, completion_ids and the engine's log-probabilities at the rollout's temperature.
        callbacks: TrainerCallbacks.
    """

    _buffered_inputs: list[dict[str, Any]] | None  # the minibatches of the present epoch

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: PPOSettings,
        arguments: GRPOConfig,
        prompts: Dataset,
        reward: RewardFunction,
        rollout: RolloutFunction,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        base = model.get_base_model()
        with torch.random.fork_rng():
            torch.manual_seed(arguments.seed)
            model.critic = Critic(base.config.get_text_config().hidden_size).to(base.device)
        self.settings = settings
        self.controller = AdaptiveKL(settings.kl, settings.kl_target, settings.kl_horizon)
        self._reader = TrunkReader(base.base_model, model.critic)
        self._rollouts = 0
        with warnings.catch_warnings():
            # The version of TRL is pinned and tests hold its contract, so its being experimental is taken care of.
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            super().__init__(
                model=model,
                reward_funcs=reward,
                args=arguments,
                train_dataset=prompts,
                processing_class=tokenizer,
                callbacks=callbacks,
                rollout_func=rollout,
            )

    @property
    def critic(self) -> Critic:
        """The value head, free of wrappers."""
        return self.accelerator.unwrap_model(self.model).critic

    def _calculate_rewards(
        self, inputs: Any, prompts: list[Any], completions: list[Any], completion_ids_list: list[list[int]]
    ) -> Tensor:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        start = self.accelerator.process_index * len(prompts)
        self._scores = rewards[start : start + len(prompts), 0]
        return rewards

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **options: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        result = super()._get_per_token_logps_and_entropies(model, input_ids, attention_mask, logits_to_keep, **options)
        values = self._reader.take(logits_to_keep)
        if "ref" not in self.accelerator.unwrap_model(self.model).active_adapters:
            self._values = values
        return result

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """The next minibatch; before it a new rollout or, at each further epoch, a new order of the present one."""
        count, step = self.args.steps_per_generation, self.state.global_step
        if self._buffered_inputs is None or step % (count * self.num_iterations) == 0:
            self._rollout = self._generate_and_score_completions(generation_batch)
        if self._buffered_inputs is None or step % count == 0:
            rows = minibatch_rows(
                len(self._rollout["completion_ids"]),
                count,
                self.args.seed + step,
                process=self.accelerator.process_index,
                processes=self.accelerator.num_processes,
            )
            self._buffered_inputs = [take_rows(self._rollout, each) for each in rows]
        return self._buffered_inputs[step % count]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"]
        self._check_agreement(output["sampling_per_token_logps"], output["old_per_token_logps"], mask)
        last = mask.sum(1).long() - 1
        final = output["completion_ids"][torch.arange(len(last), device=last.device), last]
        ended = torch.isin(final, torch.tensor(self.eos_token_ids, device=final.device))
        scores = self._scores + self.settings.missing_eos * (~ended).float()
        kl = (output["old_per_token_logps"] - output["ref_per_token_logps"]) * mask
        rewards = token_rewards(scores, kl, mask, self.controller.beta)
        values = self._values * mask
        advantages, returns = generalised_advantages(rewards, values, mask, self.settings.gamma, self.settings.lam)
        output["advantages"] = self._normalise(advantages, mask)
        if self._rollouts < self.settings.value_warmup:
            # A zero advantage leaves the policy where it is while the critic learns what the reward looks like.
            output["advantages"] = torch.zeros_like(advantages)
        output["values"], output["returns"] = values, returns
        self._control(kl.sum(1), scores, ended)
        self._rollouts += 1
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        # The KL is in the reward already; super() would add it to the loss a second time.
        self.beta, beta = 0.0, self.beta
        policy_loss = super()._compute_loss(model, inputs)
        self.beta = beta
        mask = inputs["completion_mask"]
        value_loss = clipped_value_loss(self._values, inputs["values"], inputs["returns"], self.settings.value_clip)
        # The same normaliser as the policy loss: real tokens of the whole rollout, shared among its minibatches.
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        value_loss = (value_loss * mask).sum() / tokens
        self._log_means(value_loss=value_loss.detach())
        return policy_loss + self.settings.value_weight * value_loss

    def _check_agreement(self, sampled: Tensor, recomputed: Tensor, mask: Tensor) -> None:
        """Engine and trainer must give the same tokens the same log-probabilities, else the policy ratio is wrong."""
        difference = ((sampled - recomputed).abs() * mask).sum() / mask.sum()
        self._log_means(logp_difference=difference)
        if not difference <= self.settings.logp_tolerance:
            raise RuntimeError(
                f"log-probabilities of engine and trainer differ by {float(difference):.4f} nats a token on average "
                f"(allowed: {self.settings.logp_tolerance})"
            )

    def _normalise(self, advantages: Tensor, mask: Tensor) -> Tensor:
        sums = torch.stack([mask.sum().float(), (advantages * mask).sum(), (advantages**2 * mask).sum()])
        count, total, squares = self.accelerator.reduce(sums, reduction="sum")
        return normalised(advantages, mask, count, total, squares)

    def _control(self, kl: Tensor, scores: Tensor, ended: Tensor) -> None:
        """Log the rollout and let the controller see its KL [B]."""
        self._log_means(
            kl=kl.mean(), score=scores.mean(), ended=ended.float().mean(), kl_beta=torch.tensor(self.controller.beta)
        )
        gathered = self.accelerator.gather(kl)
        if self._rollouts >= self.settings.value_warmup:
            self.controller.update(float(gathered.mean()), len(gathered))

    def _log_means(self, **figures: Tensor) -> None:
        """Note scalars, averaged over processes, under `ppo/NAME` in the trainer's metrics."""
        for name, value in figures.items():
            mean = self.accelerator.gather(value.detach().to(self.accelerator.device).float()).mean()
            self._metrics["train"][f"ppo/{name}"].append(float(mean))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save what the trainer saves and the critic and controller beside it, then drop the older checkpoints.

        `ppo.json` comes last and whole: a checkpoint without it was cut short. Only then do older ones go, so that a
        process killed at any moment of this leaves one to go on from.
        """
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # the other processes' random states are written too
        if self.args.should_save:
            folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            save_file(self.critic.state_dict(), folder / "critic.safetensors")
            facts = {"beta": self.controller.beta, "rollouts": self._rollouts}
            draft = folder / f"{COMPLETE}.tmp"
            draft.write_text(json.dumps(facts), encoding="utf-8")
            draft.replace(folder / COMPLETE)
            rotate_checkpoints(self.args.output_dir, save_total_limit=1)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        self.critic.load_state_dict(load_file(folder / "critic.safetensors"))
        facts = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        self.controller.beta, self._rollouts = facts["beta"], facts["rollouts"]
