"""Tune a trunk on ratings of every kind: TRL's `RewardTrainer` with the losses of `reward.likelihoods`.

What TRL does: batches, optimizer steps, clipping, number formats, devices, logging. What is changed: a row is a rating
of any kind, not a pair; a batch is the distinct answers that its ratings speak of, each read once; the loss is each
rating's own likelihood, whose parameters are trained beside the adapter; and a length head takes what length explains,
while the score is kept from correlating with length (Chen et al. 2024, ODIN, arXiv 2402.07319, equations 3 to 5, with
the squared correlation, whose pull fades as it nears zero). The length head is thrown away in the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import RewardConfig, RewardTrainer

from lm.loading import Base
from problems import Problem
from reward.evidence import KINDS, Evidence, Ratings
from reward.features import encode_pair
from reward.heads import LENGTHS, length_features
from reward.likelihoods import Likelihoods
from reward.settings import RewardSettings
from reward.tuned import SCORE, TunedTrunk, adapted, pad_token, padded, padding_tokenizer

LOG = "tuning.jsonl"  # figures of the training, a line of JSON each time
LOGGED = 20  # times over the training


def tune_trunk(
    base: Base,
    evidence: Evidence,
    weights: Mapping[str, Tensor] | None,
    settings: RewardSettings,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> TunedTrunk:
    """Tune an adapter on the base, and a score, to ratings of every kind.

    The base's weights are shared and stay as they are; what is held besides is the adapter, its gradients and AdamW's
    two moments of it, and the activations of one batch.

    Args:
        base: the frozen language model.
        evidence: the ratings.
        weights: by kind [N], how much each rating counts; None: all the same. What has weight 0 is not read.
        settings: the knobs that begin with lora_, the context and the seed.
        folder: where the figures of the training are written.
        progress: called with the number of finished steps and of all steps.

    Raises:
        Problem: no rating has any weight (status 3), or the base's family has no sequence classifier.
    """
    rows = _rows(evidence, weights)
    if not rows:
        raise Problem("There is no rating to learn from.", hint="Rate some answers first.", status=3)
    context = min(settings.context, base.context)
    encoded = [encode_pair(base, p, a, context) for p, a in zip(evidence.prompts, evidence.texts, strict=True)]
    steps = -(-len(rows) // settings.lora_batch_size) * settings.lora_epochs
    model = adapted(base, lora_config(settings), settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = EvidenceTrainer(
        model=model,
        tokenizer=padding_tokenizer(base.tokenizer),
        settings=settings,
        arguments=trainer_arguments(
            settings, base, folder, remove_unused_columns=False, logging_steps=max(steps // LOGGED, 1)
        ),
        rows=rows,
        encoded=encoded,
        evidence=evidence,
        callbacks=[_Progress(progress)] if progress else [],
    )
    trainer.remove_callback(PrinterCallback)  # the figures are in the folder
    trainer.train()
    lines = [json.dumps(each) + "\n" for each in trainer.state.log_history]
    (folder / LOG).write_text("".join(lines), encoding="utf-8")
    tuned: PeftModel = trainer.accelerator.unwrap_model(trainer.model)
    del tuned.evidence_loss
    score = tuned.get_base_model().get_submodule(SCORE).modules_to_save["default"].weight
    return TunedTrunk(base, tuned.eval().requires_grad_(False), score.detach()[0].float().cpu().clone(), context)


def lora_config(settings: RewardSettings) -> LoraConfig:
    """The adapter of a trunk that is tuned to judge, in PEFT's words."""
    return LoraConfig(
        task_type="SEQ_CLS",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        modules_to_save=[SCORE],
    )


def trainer_arguments(settings: RewardSettings, base: Base, folder: Path, **more: Any) -> RewardConfig:
    """The settings in TRL's words; `more` adds to them."""
    return RewardConfig(
        output_dir=str(folder),
        seed=settings.seed,
        use_cpu=base.device.type == "cpu",
        bf16=base.model.dtype == torch.bfloat16,
        num_train_epochs=settings.lora_epochs,
        per_device_train_batch_size=settings.lora_batch_size,
        lr_scheduler_type="linear",
        warmup_steps=settings.lora_warmup,
        max_grad_norm=settings.lora_max_grad_norm,
        activation_checkpointing=settings.lora_recompute,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=base.device.type != "cpu",
        **more,
    )


class EvidenceLoss(nn.Module):
    """What is trained beside the trunk: the likelihoods' parameters, and the head that takes what length explains.

    Args:
        evidence: whose people and tags the likelihoods know.
        tokens: [A] of the rated answers, for the scale of the length features.
        total: sum of the weights of all ratings, by which the prior is divided as their likelihood is.
        penalty: weight of the squared correlation of score and length.
    """

    length_mean: Tensor
    length_scale: Tensor

    def __init__(self, evidence: Evidence, tokens: Tensor, total: float, penalty: float) -> None:
        super().__init__()
        self.likelihoods = Likelihoods(1, len(evidence.people), evidence.tag_names)
        self.length = nn.Linear(LENGTHS, 1, bias=False)
        nn.init.zeros_(self.length.weight)
        lengths = length_features(tokens)
        self.register_buffer("length_mean", lengths.mean(0))
        self.register_buffer("length_scale", lengths.std(0, correction=0).clamp(min=1e-3))
        self.total, self.penalty = total, penalty

    def forward(
        self, scores: Tensor, tokens: Tensor, ratings: Mapping[str, Ratings], weights: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch, and its parts: each kind's mean, and the squared correlation with length.

        Args:
            scores: [A] of the batch's answers.
            tokens: [A].
            ratings: by kind, on those answers.
            weights: by kind [N], 1 on average over all ratings of the training.
        """
        lengths = (length_features(tokens) - self.length_mean) / self.length_scale
        rewards = scores + self.length(lengths)[:, 0]
        losses = self.likelihoods.losses(rewards[None], ratings)
        count = sum(len(each) for each in ratings.values())
        fit = torch.stack([(loss[0] * weights[kind]).sum() for kind, loss in losses.items()]).sum() / count
        correlated = _squared_correlation(scores, lengths)
        loss = fit + self.likelihoods.prior()[0] / self.total + self.penalty * correlated
        parts = {f"loss/{kind}": each.detach().mean() for kind, each in losses.items()}
        return loss, {**parts, "length_correlation": correlated.detach()}


class EvidenceTrainer(RewardTrainer):
    """TRL's trainer of reward models on ratings of every kind.

    Args:
        model: sequence classifier with an adapter.
        tokenizer: pads with the model's padding token.
        settings: knobs.
        arguments: in TRL's words.
        rows: a rating each: kind, first, second (numbers of answers), value, person, weight.
        encoded: token ids of each answer with its prompt, and where the answer starts.
        evidence: what the rows were made of.
        callbacks: TrainerCallbacks.
    """

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: RewardSettings,
        arguments: RewardConfig,
        rows: Sequence[dict[str, Any]],
        encoded: Sequence[tuple[list[int], int]],
        evidence: Evidence,
        callbacks: list[TrainerCallback],
    ) -> None:
        rated = sorted({row[side] for row in rows for side in ("first", "second")})
        tokens = torch.tensor([float(len(encoded[answer][0]) - encoded[answer][1]) for answer in rated])
        total = sum(row["weight"] for row in rows)
        loss = EvidenceLoss(evidence, tokens, total, settings.lora_length_penalty)
        # A part of the model, so that it moves, is clipped and is reduced over processes with it.
        model.evidence_loss = loss.to(model.device)
        trunk = [each for name, each in model.named_parameters() if each.requires_grad and "evidence_loss" not in name]
        optimizer = torch.optim.AdamW(
            [
                {"params": trunk, "weight_decay": settings.lora_weight_decay},
                {"params": list(loss.parameters()), "lr": settings.lora_own_rate, "weight_decay": 0.0},
            ],
            lr=settings.lora_learning_rate,
        )
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list([{**row, "weight": row["weight"] * len(rows) / total} for row in rows]),
            data_collator=Collator(encoded, pad_token(tokenizer)),
            processing_class=tokenizer,
            callbacks=callbacks,
            optimizers=(optimizer, None),
        )

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset  # the answers are tokens already

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As TRL calls it; `inputs` is what `Collator` makes."""
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        scores = outputs.logits[:, 0].float()
        ratings = {kind: Ratings(**parts) for kind, parts in inputs["ratings"].items()}
        loss_of = self.accelerator.unwrap_model(model).evidence_loss
        loss, parts = loss_of(scores, inputs["tokens"], ratings, inputs["weights"])
        mode = "train" if model.training else "eval"
        for name, value in parts.items():
            self._metrics[mode][name].append(float(value))
        return (loss, outputs) if return_outputs else loss


class Collator:
    """Makes a batch of ratings: their distinct answers, padded, and by kind the ratings, which number those answers."""

    def __init__(self, encoded: Sequence[tuple[list[int], int]], pad: int) -> None:
        self.encoded = encoded
        self.pad = pad

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        answers = sorted({row[side] for row in rows for side in ("first", "second")})
        place = {answer: number for number, answer in enumerate(answers)}
        ids, mask = padded([self.encoded[answer][0] for answer in answers], self.pad)
        ratings, weights = {}, {}
        for kind in KINDS:
            if mine := [row for row in rows if row["kind"] == kind]:
                value = torch.tensor([row["value"] for row in mine])
                person = torch.tensor([row["person"] for row in mine])
                ratings[kind] = {
                    "first": torch.tensor([place[row["first"]] for row in mine]),
                    "second": torch.tensor([place[row["second"]] for row in mine]),
                    "value": value if kind == "tags" else value[:, 0],
                    "person": person,
                    "group": torch.zeros_like(person),
                    "uniform": torch.ones_like(person, dtype=torch.bool),
                }
                weights[kind] = torch.tensor([row["weight"] for row in mine])
        lengths = [len(self.encoded[answer][0]) - self.encoded[answer][1] for answer in answers]
        tokens = torch.tensor(lengths, dtype=torch.float32)
        return {"input_ids": ids, "attention_mask": mask, "tokens": tokens, "ratings": ratings, "weights": weights}


class _Progress(TrainerCallback):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)


def _rows(evidence: Evidence, weights: Mapping[str, Tensor] | None) -> list[dict[str, Any]]:
    """A row a rating that counts for something."""
    rows = []
    for kind in KINDS:
        each = evidence.ratings[kind]
        counts = torch.ones(len(each)) if weights is None else weights[kind]
        for i in counts.nonzero()[:, 0].tolist():
            numbers = {name: int(getattr(each, name)[i]) for name in ("first", "second", "person")}
            value = each.value[i].reshape(-1).tolist()
            rows.append({"kind": kind, **numbers, "value": value, "weight": float(counts[i])})
    return rows


def _squared_correlation(scores: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the length features [A, L] of their squared correlation with [A] scores; 0 where nothing varies."""
    scores, lengths = scores - scores.mean(), lengths - lengths.mean(0)
    spread = (scores**2).sum() * (lengths**2).sum(0)
    return ((scores @ lengths) ** 2 / spread.clamp(min=1e-6)).mean()
