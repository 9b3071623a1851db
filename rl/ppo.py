"""PPO as a subclass of TRL's maintained `GRPOTrainer`.

What TRL does: data, optimizer, Accelerate, checkpoints, logging, generation by transformers, the reference (a frozen
copy of the adapter as it was at the start), the output head in tiles. What is ours: rollouts by the engine, a critic on
the policy's trunk, token-level rewards with the KL in them, generalised advantages, the losses, the controller, the
early stop on KL, and checkpoints that hold critic and controller.

One rollout in order: `_roll_out` (answers, rewards, log-probabilities and values, advantages), then for each minibatch
of each epoch `_compute_loss` and an optimizer step. Every process holds the whole rollout, which is small, and takes
its share of each minibatch: what is computed from it needs no word between processes, and two do what one does.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import use_adapter

from lm.likelihood import Batch, Completed, batch_of, batches, groups_by_length
from rl.advantages import generalised_advantages, normalised
from rl.checkpoints import MarkComplete
from rl.critic import Critic
from rl.losses import approximate_kl, clipped_policy_loss, clipped_value_loss, importance_weights
from rl.rewards import AdaptiveKL, RewardScale, token_rewards
from rl.rollout import RolloutFunction
from rl.settings import PPOSettings
from rl.token_scores import TokenScorer, TokenScores, joined

STATE = "ppo.json"  # in a checkpoint: controller, scale, and the rollout's number
RewardFunction = Callable[..., list[float]]


@dataclass(frozen=True)
class Answer:
    """An answer of a rollout, and what the policy, its critic and the reference made of its n tokens; each [n]."""

    ids: list[int]  # of prompt and answer
    start: int  # where the answer begins
    logps: Tensor  # of the policy that gave it
    values: Tensor
    reference: Tensor  # log-probabilities of the reference
    sampled: Tensor | None = None  # log-probabilities that the sampler drew by; None where it does not tell
    fine: float = 0.0  # added to the reward if it does not end


@dataclass(frozen=True)
class Rollout:
    """Answers of all processes and what the losses need of each of their tokens; tensors are [B, T], on the CPU."""

    sequences: list[Completed]
    mask: Tensor
    old_logps: Tensor
    values: Tensor
    returns: Tensor
    advantages: Tensor
    weights: Tensor  # that correct for the sampler


class PPOTrainer(GRPOTrainer):
    """PPO with a critic on the shared trunk.

    Args:
        model: policy, a PEFT model; TRL keeps a frozen copy of its adapter as the reference.
        tokenizer: of the base.
        settings: knobs of PPO.
        arguments: from `trainer_arguments`.
        prompts: dataset from `prompt_stream`.
        reward: called with prompts, completions (conversational), completion_ids; returns one reward an answer.
        rollout: from `make_rollouts`.
        callbacks: TrainerCallbacks.
    """

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
        self.scale = RewardScale()
        vocabulary = base.get_output_embeddings().weight.shape[0]
        self._scorer = TokenScorer(
            base.base_model, model.critic, vocabulary, settings.temperature, entropy_moves=bool(settings.entropy)
        )
        # Kernels for bfloat16 are made anew for each shape and kept: a few lengths cost less memory and time than many.
        self._multiple = 16 if arguments.bf16 else 1
        self._rollout: Rollout | None = None
        self._rollouts = 0
        self._stopped = False
        with warnings.catch_warnings():
            # The version of TRL is pinned and tests hold its contract, so its being experimental is taken care of.
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            super().__init__(
                model=model,
                reward_funcs=reward,
                args=arguments,
                train_dataset=prompts,
                processing_class=tokenizer,
                callbacks=[*(callbacks or []), MarkComplete()],
                rollout_func=rollout,
            )

    @property
    def critic(self) -> Critic:
        """The value head, free of wrappers."""
        return self.accelerator.unwrap_model(self.model).critic

    # A rollout

    def _roll_out(self, inputs: list[dict[str, Any]]) -> Rollout:
        """Answer this process's prompts, and make of all processes' answers what the losses need."""
        prompts = [each["prompt"] for each in inputs]
        prompt_ids, completion_ids, _, completions, sampled, *_ = self._generate(prompts)
        scores = self._calculate_rewards(inputs, prompts, completions, completion_ids)[:, 0].cpu()
        self._log_what_rewards_told()
        sequences = [(list(p) + list(c), len(p)) for p, c in zip(prompt_ids, completion_ids, strict=True)]
        logps, values = self._read(sequences)
        with use_adapter(self.accelerator.unwrap_model(self.model), "ref"):
            reference, _ = self._read(sequences)
        answers = [
            Answer(ids, start, logp, value, referred)
            for (ids, start), logp, value, referred in zip(sequences, logps, values, reference, strict=True)
        ]
        if sampled is not None:
            answers = [
                replace(answer, sampled=torch.tensor(drawn)) for answer, drawn in zip(answers, sampled, strict=True)
            ]
        fines = [each["missing_eos"] for each in inputs]
        answers = [replace(answer, fine=fine) for answer, fine in zip(answers, fines, strict=True)]
        return self._weigh(gather_object(answers), scores)

    @torch.no_grad()
    def _read(self, sequences: list[Completed]) -> tuple[list[Tensor], list[Tensor]]:
        """Log-probabilities and values of each answer's tokens under the adapter that is active."""
        logps: list[Tensor] = [torch.empty(0)] * len(sequences)
        values = list(logps)
        # Without gradients a pass takes a fraction of the memory, so that more rows go at once.
        size, pad = 2 * self.args.per_device_train_batch_size, self._tokenizer.pad_token_id
        for batch in batches(sequences, pad, size, self.accelerator.device, self._multiple):
            scores = self._score(self.model, batch)
            for place, *figures in zip(batch.rows, *scores.by_row(batch), strict=True):
                logps[place], values[place] = figures
        return logps, values

    def _score(self, model: Any, batch: Batch) -> TokenScores:
        with self.accelerator.autocast():
            return self._scorer(model, batch)

    def _weigh(self, answers: list[Answer], scores: Tensor) -> Rollout:
        """Rewards, advantages and weights of answers whose scores [B] are given."""
        knobs = self.settings
        logps, values, reference = (
            pad_sequence([getattr(each, name) for each in answers], batch_first=True)
            for name in ("logps", "values", "reference")
        )
        mask = pad_sequence([torch.ones(len(each.logps)) for each in answers], batch_first=True)
        weights = mask.clone()
        drawn = [each.sampled for each in answers if each.sampled is not None]
        if drawn:
            sampled = pad_sequence(drawn, batch_first=True)
            self._check_agreement(sampled, logps, mask)
            weights = importance_weights(logps, sampled, knobs.importance) * mask
        ended = torch.tensor([each.ids[-1] in self.eos_token_ids for each in answers])
        if knobs.reward_scaling == "running":
            self.scale.update(scores)
            paid = self.scale.normalised(scores)
        else:
            paid = scores
        if knobs.reward_clip:
            paid = paid.clamp(-knobs.reward_clip, knobs.reward_clip)
        paid = paid + torch.tensor([each.fine for each in answers]) * ~ended
        kl = (logps - reference) * mask
        rewards = token_rewards(paid, kl, mask, self.controller.beta)
        advantages, returns = generalised_advantages(rewards, values, mask, knobs.gamma, knobs.lam)
        real = mask.bool()
        self._note(
            score=float(scores.mean()),
            paid=float(paid.mean()),
            kl=float(kl.sum(1).mean()),
            kl_beta=self.controller.beta,
            length=float(mask.sum(1).mean()),
            ended=float(ended.float().mean()),
            importance=float(weights[real].mean()),
            explained_variance=float(1 - (returns - values)[real].var() / returns[real].var().clamp(min=1e-8)),
        )
        if self._rollouts >= knobs.value_warmup:
            self.controller.update(float(kl.sum(1).mean()), len(answers))
        self._rollouts += 1
        return Rollout(
            [(each.ids, each.start) for each in answers],
            mask,
            logps,
            values,
            returns,
            normalised(advantages, mask),
            weights,
        )

    def _check_agreement(self, sampled: Tensor, recomputed: Tensor, mask: Tensor) -> None:
        """Sampler and trainer must give the same tokens the same log-probabilities, else the policy ratio is wrong."""
        difference = float(((sampled - recomputed).abs() * mask).sum() / mask.sum())
        self._note(logp_difference=difference)
        if not difference <= self.settings.logp_tolerance:
            raise RuntimeError(
                f"log-probabilities of sampler and trainer differ by {difference:.4f} nats a token on average "
                f"(allowed: {self.settings.logp_tolerance})"
            )

    # A minibatch

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """This process's share of the present minibatch; the first of a rollout makes the rollout.

        Each epoch cuts the rollout into other minibatches [arXiv 2005.12729, section 3], by seed, rollout and epoch,
        so that a resumed training cuts as one that never stopped.
        """
        minibatches = self.args.steps_per_generation
        epoch, minibatch = divmod(self._step % (minibatches * self.num_iterations), minibatches)
        if self._rollout is None or (epoch, minibatch) == (0, 0):
            self._rollout = self._roll_out(generation_batch)
        rollout = self._rollout
        order = list(range(len(rollout.sequences)))
        random.Random(f"{self.args.seed} {self._rollouts} {epoch}").shuffle(order)
        share = self.args.per_device_train_batch_size
        begin = (minibatch * self.accelerator.num_processes + self.accelerator.process_index) * share
        drawn = order[begin : begin + share]
        cut = [drawn]
        if self.accelerator.num_processes == 1:  # several must run as many passes as each other
            groups = groups_by_length([len(rollout.sequences[place][0]) for place in drawn])
            cut = [[drawn[row] for row in group] for group in groups]
        places = [place for group in cut for place in group]
        device = self.accelerator.device
        real = rollout.mask[places].bool()
        figures = {
            name: getattr(rollout, name)[places][real].to(device)
            for name in ("old_logps", "values", "returns", "advantages", "weights")
        }
        pad = self._tokenizer.pad_token_id
        parts = [batch_of(rollout.sequences, group, pad, device, self._multiple) for group in cut]
        return {"batches": parts, "tokens": float(rollout.mask.sum()), **figures}

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One minibatch; none that moves the policy beyond `stop_kl` of the one that gave the answers.

        The minibatch that finds itself beyond it drops its gradient, and the others of the rollout are left out
        [arXiv 2403.17031, detail 11 names the practice; OpenAI's spinningup stops the epochs so].
        """
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            self._stopped = False
        if self._stopped:
            self._step += 1
            self._note(stopped=1.0)
            return torch.zeros((), device=self.accelerator.device)
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._note(stopped=float(self._stopped))
        if self._stopped:
            model.zero_grad(set_to_none=True)
        return loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        knobs = self.settings
        scores = joined([self._score(model, batch) for batch in inputs["batches"]])
        policy_loss, clipped = clipped_policy_loss(
            scores.logps, inputs["old_logps"], inputs["advantages"], knobs.clip, knobs.log_ratio
        )
        policy_loss = policy_loss * inputs["weights"]
        value_loss = clipped_value_loss(scores.values, inputs["values"], inputs["returns"], knobs.value_clip)
        moved = approximate_kl(scores.logps.detach(), inputs["old_logps"], knobs.log_ratio)
        # The policy stands where it is while the critic learns what the reward looks like.
        moves = float(self._rollouts > knobs.value_warmup)
        loss = moves * (policy_loss - knobs.entropy * scores.entropies) + knobs.value_weight * value_loss

        figures = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": scores.entropies,
            "clip_share": clipped.float(),
            "approx_kl": moved,
        }
        sums = torch.stack([torch.ones_like(moved).sum(), *(each.detach().sum() for each in figures.values())])
        count, *totals = self.accelerator.reduce(sums, reduction="sum").tolist()
        means = {name: total / count for name, total in zip(figures, totals, strict=True)}
        self._note(**means)
        self._stopped = 0 < knobs.stop_kl < means["approx_kl"]
        # Every token of a rollout counts the same, whichever minibatch it falls into: the sum is divided by the mean
        # number of tokens a minibatch, and by the processes' number since Accelerate takes the mean of their gradients.
        tokens = inputs["tokens"] / self.args.steps_per_generation / self.accelerator.num_processes
        return loss.sum() / tokens

    # Figures

    def _note(self, **figures: float) -> None:
        """Keep figures of all processes for the next line of the log, under `ppo/NAME`."""
        for name, value in figures.items():
            self._metrics["train"][f"ppo/{name}"].append(value)

    def _log_what_rewards_told(self) -> None:
        """What reward functions noted by `log_metric`, averaged over processes, goes into the log under its name."""
        told = gather_object([dict(self._pending_metrics)])
        self._pending_metrics.clear()
        for name in sorted({name for each in told for name in each}):
            values = [value for each in told for value in each.get(name, [])]
            self._metrics["train"][name].append(sum(values) / len(values))

    # Checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save what the trainer saves, and critic and controller beside it; `MarkComplete` has the last word."""
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            save_file(self.critic.state_dict(), folder / "critic.safetensors")
            facts = {"beta": self.controller.beta, "rollouts": self._rollouts, "scale": asdict(self.scale)}
            (folder / STATE).write_text(json.dumps(facts), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        self.critic.load_state_dict(load_file(folder / "critic.safetensors"))
        facts = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self.controller.beta, self._rollouts = facts["beta"], facts["rollouts"]
        self.scale = RewardScale(**facts["scale"])
