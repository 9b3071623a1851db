"""What the heads see of an answer: hidden states of the frozen trunk, pooled, computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lm.loading import Base
from lm.output_head import tiles
from lm.prompts import Message, PromptTooLong, fit_chat

ANSWER_SHARE = 0.5  # of the context that an answer may take before its tail is cut
DEPTHS = 4  # layers that are pooled, evenly from the embedding to the last
SUM = 32.0  # tokens: by what the sum over an answer is divided


def raise_context(base: Base, context: int) -> str:
    """What to do where a prompt leaves no room for an answer in `reward.context`."""
    if context < base.context:
        return "raise reward.context"
    return f"take a model that reads more than {base.context} tokens"


def encode_pair(base: Base, messages: Sequence[Message], answer: str, context: int) -> tuple[list[int], int]:
    """Token ids of a prompt with its answer, and where the answer starts.

    The answer is closed by the end-of-sequence token, so that its last position has seen the whole of it. An answer
    longer than half the context loses its tail, a longer prompt its oldest turns. Where the prompt cannot be made short
    enough, since its system message is long, the answer's tail gives way.

    Returns:
        (ids, start): `ids` has at most `context` entries; `ids[start:]` is the answer, never empty.
    """
    reply = base.tokenizer(answer, add_special_tokens=False)["input_ids"][: int(context * ANSWER_SHARE) - 1]
    reply.append(base.tokenizer.eos_token_id)
    try:
        prompt = fit_chat(base, list(messages), context - len(reply), raise_limit=raise_context(base, context))
    except PromptTooLong as error:
        prompt = fit_chat(base, list(messages), min(error.least, context - 2), raise_limit=raise_context(base, context))
        reply[context - len(prompt) - 1 : -1] = []
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
) -> tuple[Tensor, Tensor]:
    """Features of each (prompt, answer), and how many tokens the answer has.

    Of four layers from the embedding to the last the mean and the maximum over the answer; the last layer at the
    answer's end; the sum of the embeddings, which counts; and how probable the trunk itself finds the answer (mean, sum
    and least log-probability of its tokens, mean entropy, mean and greatest lead of the likeliest token), which tells
    right answers from wrong ones better than any state. The trunk is the base with every adapter off, so features stay
    valid across versions.

    Args:
        base: the frozen language model.
        prompts: N conversations, each ending in the turn that is answered.
        answers: N texts.
        context: tokens of prompt and answer together that are read.
        batch_tokens: padded tokens a forward pass, bounds memory.
        progress: called with the number of finished rows.

    Returns:
        float32 [N, D] and [N], on the CPU; D = (2 * 4 + 2) * hidden size + 6.
    """
    context = min(context, base.context)
    encoded = [encode_pair(base, p, a, context) for p, a in zip(prompts, answers, strict=True)]
    features, tokens, done = [torch.empty(0)] * len(encoded), torch.zeros(len(encoded)), 0
    for rows in token_batches([len(ids) for ids, _ in encoded], batch_tokens):
        ids, reads, answer = _padded(base, [encoded[i] for i in rows])
        pooled = _pooled(base, ids, reads, answer).cpu()
        for place, i in enumerate(rows):
            features[i] = pooled[place]
        tokens[rows] = answer.sum(1).float().cpu()
        done += len(rows)
        if progress:
            progress(done)
    return torch.stack(features) if features else torch.zeros(0, feature_width(base)), tokens


def feature_width(base: Base) -> int:
    """D, the number of features of an answer."""
    return (2 * DEPTHS + 2) * int(base.model.config.get_text_config().hidden_size) + 6


def _padded(base: Base, encoded: Sequence[tuple[list[int], int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, which of them are read, and which are the answer's: [N, L] each."""
    device = base.device
    longest = max(len(tokens) for tokens, _ in encoded)
    ids = torch.full((len(encoded), longest), base.tokenizer.pad_token_id, device=device)
    reads = torch.zeros(len(encoded), longest, dtype=torch.bool, device=device)
    answer = torch.zeros_like(reads)
    for row, (tokens, start) in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens, device=device)
        reads[row, : len(tokens)] = True
        answer[row, start : len(tokens)] = True
    return ids, reads, answer


def _pooled(base: Base, ids: Tensor, reads: Tensor, answer: Tensor) -> Tensor:
    """[N, D] features of a padded batch."""
    states = base.model.base_model(
        input_ids=ids, attention_mask=reads.long(), use_cache=False, output_hidden_states=True
    ).hidden_states
    counts = answer.sum(1, keepdim=True).float()
    parts = []
    for depth in torch.linspace(0, len(states) - 1, DEPTHS).round().long().tolist():
        layer = states[depth].float()
        parts += [
            (layer * answer[:, :, None]).sum(1) / counts,
            layer.masked_fill(~answer[:, :, None], -torch.inf).amax(1),
        ]
    last = states[-1][torch.arange(len(ids), device=ids.device), reads.sum(1) - 1].float()
    return torch.cat([*parts, last, parts[0] * counts / SUM, _surprise(base, states[-1], ids, answer)], dim=1)


def _surprise(base: Base, states: Tensor, ids: Tensor, answer: Tensor) -> Tensor:
    """[N, 6] figures of how probable the trunk finds the answer, in nats."""
    said = answer[:, 1:]  # the position before a token predicts it
    head, figures = base.model.get_output_embeddings(), []
    vocabulary = base.model.config.get_text_config().vocab_size
    for hidden, tokens in tiles(vocabulary, states[:, :-1][said], ids[:, 1:][said]):
        logps = head(hidden).float().log_softmax(-1)
        own = logps.gather(-1, tokens[:, None])[:, 0]
        figures.append(torch.stack([own, -(logps.exp() * logps).sum(-1), logps.amax(-1) - own]))
    chosen, entropy, lead = torch.cat(figures, dim=1)

    def spread(values: Tensor) -> Tensor:
        """Back to [N, L - 1], zero outside the answer."""
        return torch.zeros(said.shape, device=ids.device).masked_scatter(said, values)

    counts, chosen, entropy, lead = said.sum(1).float(), spread(chosen), spread(entropy), spread(lead)
    total = chosen.sum(1)
    return torch.stack(
        [
            total / counts,
            total / SUM,
            chosen.amin(1),
            entropy.sum(1) / counts,
            lead.sum(1) / counts,
            lead.amax(1),
        ],
        dim=1,
    )


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Row numbers grouped by similar length so that each padded group holds at most `batch_tokens` tokens."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
