"""What the heads see of an answer: pooled hidden states of the frozen trunk, computed once and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lm.loading import Base
from lm.prompts import Message, fit_chat

ANSWER_SHARE = 0.5  # of the context that an answer may take before its tail is cut


def encode_pair(base: Base, messages: Sequence[Message], answer: str, context: int) -> tuple[list[int], int]:
    """Token ids of a prompt with its answer, and where the answer starts.

    The answer is closed by the end-of-sequence token, so that its last position has seen the whole of it. An answer
    longer than half the context loses its tail, a longer prompt its oldest turns.

    Returns:
        (ids, start): `ids` has at most `context` entries; `ids[start:]` is the answer, never empty.
    """
    reply = base.tokenizer(answer, add_special_tokens=False)["input_ids"][: int(context * ANSWER_SHARE) - 1]
    reply.append(base.tokenizer.eos_token_id)
    prompt = fit_chat(base, list(messages), context - len(reply))
    return prompt + reply, len(prompt)


@torch.inference_mode()
def trunk_features(
    base: Base,
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[str],
    *,
    context: int,
    batch_tokens: int = 8192,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Features of each (prompt, answer): mean and last hidden state over the answer, and the log of its length.

    Pooling both was the best of those compared for small numbers of ratings; the length stands on its own since a mean
    over positions cannot show it. The trunk is the base with every adapter off, so features stay valid across versions.

    Args:
        base: the frozen language model.
        prompts: N conversations, each ending in the turn that is answered.
        answers: N texts.
        context: tokens of prompt and answer together that are read.
        batch_tokens: padded tokens a forward pass, bounds memory.
        progress: called with the number of finished rows.

    Returns:
        float32 [N, 2 * hidden size + 1] on the CPU.
    """
    context = min(context, base.context)
    encoded = [encode_pair(base, p, a, context) for p, a in zip(prompts, answers, strict=True)]
    width = base.model.config.get_text_config().hidden_size
    features = torch.zeros(len(encoded), 2 * width + 1)
    backbone = base.model.base_model
    device = base.model.device
    done = 0
    for rows in _batches([len(ids) for ids, _ in encoded], batch_tokens):
        longest = max(len(encoded[i][0]) for i in rows)
        ids = torch.full((len(rows), longest), base.tokenizer.pad_token_id, device=device)
        reads = torch.zeros(len(rows), longest, dtype=torch.bool, device=device)
        answer = torch.zeros_like(reads)
        for row, i in enumerate(rows):
            tokens, start = encoded[i]
            ids[row, : len(tokens)] = torch.tensor(tokens, device=device)
            reads[row, : len(tokens)] = True
            answer[row, start : len(tokens)] = True
        hidden = backbone(input_ids=ids, attention_mask=reads.long(), use_cache=False).last_hidden_state.float()
        counts = answer.sum(1, keepdim=True)
        mean = (hidden * answer[:, :, None]).sum(1) / counts
        last = hidden[torch.arange(len(rows), device=device), reads.sum(1) - 1]
        length = counts.float().log() / math.log(context)
        features[rows] = torch.cat([mean, last, length], dim=1).cpu()
        done += len(rows)
        if progress:
            progress(done)
    return features


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Row numbers grouped by similar length so that each padded group holds at most `batch_tokens` tokens."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
