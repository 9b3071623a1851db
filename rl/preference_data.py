"""What the updates other than PPO learn from: the ratings of a frozen dataset as token ids in the serving template.

DPO takes pairs, KTO single answers that were liked or not, SFT the answers that people wrote themselves. A prompt is
spelled exactly as the engine spells it, oldest turns gone first; an answer is closed by the token that ends a turn, so
that the policy learns to stop. Only answers are in a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any, cast

import torch
from datasets import Dataset

from lm.lengths import longest_answer
from lm.loading import Base
from lm.prompts import Message
from lm.templates import manner
from problems import Problem
from rl.encoded_prompts import encode_prompt
from rl.settings import AlgorithmSettings, PPOSettings
from store.frozen import Frozen, Pair, Thumb

Row = dict[str, Any]


def preferences(frozen: Frozen) -> list[Pair]:
    """Training pairs in which one answer is better: judged, corrected, or liked beside disliked."""
    return [pair for pair in frozen.pairs if pair.split == "train" and pair.outcome == 1.0]


def verdicts(frozen: Frozen) -> list[Thumb]:
    """Training answers that were liked or not: thumbs, and pairs taken apart.

    Of a pair the better answer counts as liked and the other as not; where neither would do, both count as not liked. A
    tie says nothing of either. Pairs that were made of thumbs are left out: their thumbs are here already.
    """
    found = [thumb for thumb in frozen.thumbs if thumb.split == "train"]
    for pair in frozen.pairs:
        if pair.split != "train" or pair.outcome == 0.5 or pair.kind == "thumbs":
            continue
        whose = (pair.kind, pair.person, pair.conversation, pair.split)
        found.append(Thumb(pair.messages, pair.first, pair.outcome == 1.0, *whose))
        found.append(Thumb(pair.messages, pair.second, False, *whose))
    return found


def corrections(frozen: Frozen) -> list[Pair]:
    """Training pairs whose first answer is what a person wrote in place of the model's."""
    return [pair for pair in preferences(frozen) if pair.kind == "correction"]


def check_evidence(algorithm: str, frozen: Frozen) -> None:
    """Raise Problem (status 3) where the training split holds nothing that `algorithm` could learn from."""
    if algorithm == "dpo" and not preferences(frozen):
        raise Problem(
            "DPO learns from pairs in which one answer is better, and there is none to train on yet.",
            hint="Compare answers side by side, or import pairs, or take --algorithm kto or ppo.",
            status=3,
        )
    if algorithm == "kto" and len({thumb.liked for thumb in verdicts(frozen)}) < 2:
        raise Problem(
            "KTO learns from answers that were liked and answers that were not, and one of the two kinds is missing.",
            hint="Give thumbs of both kinds, or compare answers side by side, or take --algorithm ppo.",
            status=3,
        )
    if algorithm == "sft" and not corrections(frozen):
        raise Problem(
            "SFT learns from answers that people corrected, and there is none to train on yet.",
            hint="Correct answers in the chat, or import corrections, or take --algorithm dpo or ppo.",
            status=3,
        )


def rated_lengths(base: Base, frozen: Frozen) -> list[int]:
    """Tokens of each different answer that was rated or written by a person, the token that ends it included."""
    texts = {text for pair in frozen.pairs for text in (pair.first, pair.second)}
    texts |= {row.answer for rows in (frozen.thumbs, frozen.scores, frozen.tags) for row in rows}
    if not texts:
        return []
    encoded = base.tokenizer(sorted(texts), add_special_tokens=False)["input_ids"]
    return [len(ids) + 1 for ids in encoded]


def with_answer_length(base: Base, frozen: Frozen, ppo: PPOSettings) -> PPOSettings:
    """PPO's settings with the length of answers that a dataset gives, where `ppo.max_tokens` leaves it open."""
    longest = ppo.max_tokens or longest_answer(base.context, rated_lengths(base, frozen))
    return replace(ppo, max_tokens=longest)


def encode_completed(
    base: Base, messages: Sequence[Message], answer: str, ppo: PPOSettings, longest: int
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt as the engine would be asked it, and of an answer closed by the token that ends a turn.

    An answer of more than `longest` tokens, or than the context has room for, is cut and not closed.
    """
    prompt = encode_prompt(base, ppo, messages)
    said = cast(list[int], base.tokenizer(answer, add_special_tokens=False)["input_ids"])
    end = manner(base.tokenizer).end
    said.append(cast(int, base.tokenizer.eos_token_id) if end is None else end)
    return prompt, said[: min(longest, base.context - len(prompt))]


def preference_rows(base: Base, pairs: Sequence[Pair], ppo: PPOSettings, longest: int) -> list[Row]:
    """DPO's columns: prompt_ids, chosen_ids, rejected_ids."""
    rows = []
    for pair in pairs:
        prompt, chosen = encode_completed(base, pair.messages, pair.first, ppo, longest)
        rows.append({
            "prompt_ids": prompt,
            "chosen_ids": chosen,
            "rejected_ids": encode_completed(base, pair.messages, pair.second, ppo, longest)[1],
        })  # fmt: skip
    return rows


def verdict_rows(base: Base, thumbs: Sequence[Thumb], ppo: PPOSettings, longest: int) -> list[Row]:
    """KTO's columns but one: prompt_ids, completion_ids, label (whether it was liked)."""
    rows = []
    for thumb in thumbs:
        prompt, answer = encode_completed(base, thumb.messages, thumb.answer, ppo, longest)
        rows.append({"prompt_ids": prompt, "completion_ids": answer, "label": thumb.liked})
    return rows


def correction_rows(base: Base, pairs: Sequence[Pair], ppo: PPOSettings, longest: int) -> list[Row]:
    """SFT's columns: input_ids, and labels, which are -100 (no loss) over the prompt."""
    rows = []
    for pair in pairs:
        prompt, answer = encode_completed(base, pair.messages, pair.first, ppo, longest)
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def training_stream(rows: Sequence[Row], settings: AlgorithmSettings, seed: int) -> Dataset:
    """The rows of a whole training in the order that they are learned from, `settings.batch` an optimizer step.

    Every pass is shuffled anew, and one pass over this dataset is the whole training, so that a training that is
    resumed meets the same rows as one that never stopped. The last batch is filled up from a further pass.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = ceil(settings.epochs * len(rows) / settings.batch) * settings.batch
    order: list[int] = []
    while len(order) < wanted:
        order += torch.randperm(len(rows), generator=generator).tolist()
    return Dataset.from_list([rows[i] for i in order[:wanted]])


def with_mismatched(stream: Dataset, batch: int) -> Dataset:
    """The stream with KTO's `KL_completion_ids`: each prompt with the answer before it in the batch.

    From these KTO estimates how far the policy has moved from its reference [arXiv 2402.01306, section 4.1].
    """

    answers = stream["completion_ids"]
    turned = [answers[i - 1 if i % batch else min(i + batch, len(answers)) - 1] for i in range(len(answers))]
    return stream.add_column("KL_completion_ids", turned)
