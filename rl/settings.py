"""Knobs of an update: PPO, the anchor, when training stops, the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PPOSettings:
    """Proximal policy optimisation on the policy's adapter [arXiv 1707.06347]."""

    updates: int = 15  # rollouts, each followed by `epochs` passes over it
    episodes: int = 64  # answers a rollout; a multiple of `minibatch`, both even
    minibatch: int = 8  # answers an optimizer step
    epochs: int = 2  # passes over each rollout
    learning_rate: float = 3e-4  # of AdamW, constant
    clip: float = 0.2  # bound of the policy ratio's move from 1
    log_ratio: float = 10.0  # bound of the policy's log-ratio before it is exponentiated, nats a token
    entropy: float = 0.0  # weight of the entropy bonus
    stop_kl: float = 0.1  # nats a token from the rollout's policy at which its other minibatches are left out; 0: never
    importance: float = 2.0  # cap of the weight that corrects for a sampler whose log-probabilities differ
    value_clip: float = 0.2  # bound of the value's move from its estimate at rollout time
    value_weight: float = 0.5  # of the value loss
    value_warmup: int = 2  # first rollouts that train the critic alone [arXiv 2503.01491]
    gamma: float = 1.0  # discount a token
    lam: float = 0.95  # of generalised advantage estimation [arXiv 1506.02438]
    kl: float = 0.2  # first strength of the KL to the serving version, in the reward
    kl_target: float = 3.0  # nats an answer that the controller steers to [arXiv 1909.08593, section 2.2]
    kl_horizon: float = 1000.0  # answers over which the controller acts
    missing_eos: float = -1.0  # added to the reward of an answer that does not end where its parent's do
    reward_scaling: Literal["none", "running"] = "none"  # running: by mean and deviation so far [arXiv 2307.04964]
    reward_clip: float = 10.0  # bound of an answer's reward, after scaling; 0: none
    max_grad_norm: float = 1.0  # of policy and critic together, before the anchor's pull
    temperature: float = 1.0  # of the rollouts
    max_tokens: int = 0  # of an answer in rollouts, checks and gate; 0: by the rated answers (`lm.lengths`)
    prompt_tokens: int = 1024  # of a prompt, as far as the context goes; the oldest turns go first
    rank: int = 16  # of the policy's LoRA
    alpha: float = 32.0  # of the policy's LoRA, scaled by alpha / rank
    rollouts: Literal["engine", "transformers", "vllm"] = "engine"  # who answers the prompts
    logp_tolerance: float = 0.05  # mean difference allowed between engine and trainer log-probabilities
    save_every: int = 5  # rollouts between checkpoints


Algorithm = Literal["ppo", "grpo", "rloo", "dpo", "kto", "sft"]


@dataclass(frozen=True)
class AlgorithmSettings:
    """The updates other than PPO. Prompts, rollouts, clipping and the adapter's rank are PPO's."""

    group: int = 8  # answers to each prompt of GRPO and RLOO; divides ppo.episodes [arXiv 2402.03300, 2402.14740]
    kl: float = 0.05  # strength of the KL to the serving version: a token in GRPO's loss, an answer in RLOO's reward
    scale: Literal["group", "batch", "none"] = "group"  # what divides GRPO's advantages; none: [arXiv 2503.20783]
    beta: float = 0.1  # of DPO and KTO: what a nat away from the serving version costs [arXiv 2305.18290, 2402.01306]
    learning_rate: float = 1e-4  # of DPO and KTO: AdamW, constant; at 3e-4 DPO lost the starter's skills
    sft_learning_rate: float = 1e-3  # of SFT: AdamW, constant
    epochs: int = 3  # passes of DPO, KTO and SFT over their ratings
    batch: int = 8  # ratings an optimizer step of DPO, KTO and SFT
    answer_tokens: int = 512  # of a rated answer; the rest of a longer one is not learned from
    save_every: int = 50  # optimizer steps between checkpoints of DPO, KTO and SFT


@dataclass(frozen=True)
class AnchorSettings:
    """What holds a training near the serving version: elastic weight consolidation [arXiv 1612.00796], and replay.

    Replay alone is the default: of what was compared it has the best average accuracy (bench/forgetting.py).
    """

    strength: float = 0.0  # lambda of the penalty lambda / 2 * sum F (theta - theta*)^2; 0: none, and no F is measured
    space: Literal["matrices", "product"] = "matrices"  # theta: A and B, or their product BA [arXiv 2602.17559]
    memory: Literal["online", "separate"] = "online"  # one decayed sum around the parent, or a term a version
    samples: int = 256  # answers to old prompts that are replayed, and that the Fisher information is averaged over
    batch: int = 16  # sequences a backward pass
    decay: float = 0.9  # of the parent's Fisher information [online EWC, arXiv 1805.06370]
    replay: float = 0.03  # strength of the exact KL(parent || policy) on old prompts; 0: none [arXiv 2607.04364]
    replay_batch: int = 4  # replayed answers an optimizer step
    share: float = 1.0  # of the way from the parent to what training found that is gone [arXiv 2309.06256]


@dataclass(frozen=True)
class StoppingSettings:
    """When training ends before its last rollout, and which of its checks becomes the candidate."""

    # Minutes of training, after which it ends with the rollout under way and is checked; 0: no limit. A real model on
    # a processor takes minutes a rollout, and an update that begins in the evening should be done at night.
    minutes: float = 30.0
    every: int = 3  # rollouts between checks; 0: none, and the last rollout's policy is the candidate
    patience: int = 2  # checks in a row, out of bounds or doubtlessly below the best, after which training ends
    max_skill_drop: float = 0.03  # of any skill's accuracy, beyond one standard error
    max_mean_drop: float = 0.015  # of the accuracy on all skills' questions together, beyond one standard error
    max_kl: float = 10.0  # nats an answer away from the parent
    skill_items: int = 80  # questions a skill, of the suite's validation split
    skill_tokens: int = 256  # of an answer to one, at most: what lm-evaluation-harness gives where a task is silent
    answers: int = 64  # each to a held-out prompt of its own: for the KL and the held-out judge
    ratings: int = 16  # held-out ratings below which nobody judges
    watched: float = 0.5  # share of the held-out conversations that the checks see; the gate's prompts are the others


@dataclass(frozen=True)
class GateSettings:
    """What a candidate must show before it serves."""

    min_reward_accuracy: float = 0.5  # that the lower bound of the reward model's held-out accuracy must exceed
    min_win_rate: float = 0.5  # that the lower 95 % bound of the reward's verdict on held-out prompts must exceed
    max_skill_drop: float = 0.03  # of any skill's accuracy
    min_length: float = 0.2  # mean answer length against the parent's, at least
    max_length: float = 2.0  # and at most: a polite frame around a short answer comes near it
    max_kl: float = 12.0  # nats an answer away from the parent
    win_prompts: int = 128  # different held-out prompts, at most, each asked once
    skill_items: int = 300  # questions a skill
    skill_tokens: int = 256  # of an answer to one, at most
    temperature: float = 0.8  # of the answers that are compared


@dataclass(frozen=True)
class UpdateSettings:
    """When an update is worth its time, and on which machine it runs."""

    algorithm: Algorithm = "ppo"  # what moves the policy
    min_ratings: int = 50  # present ratings below which there is nothing to do, unless forced
    seed: int = 0  # of the split into batches, the rollouts and the gate's answers
    suite: str = "skills"  # the suite that must not be forgotten: a name or a file
    # Share of the rows that may be left out because the model cannot read them. A tool's turn or a pasted handbook here
    # and there is usual; at one row in ten a template or a bound does not suit what people do, and what is left would
    # teach the habits of the others alone.
    max_left_out: float = 0.1
    # Gigabytes free in the home below which nothing is begun. Two checkpoints stand side by side while one is written,
    # 12 bytes a trained number (itself and AdamW's two moments): .12 GB at rank 16 on 135 million weights (reckoned,
    # not measured); the rest is for the database and everything else on that disk.
    min_free_disk: float = 1.0
    accelerate: str = ""  # trains under this configuration of deploy/accelerate, or file; empty: in this process
