"""A reward that a policy can be taught by, and how far a training followed it."""

from __future__ import annotations

from typing import Any

import torch

from lm.likelihood import batches, log_likelihood
from lm.loading import Base
from lm.prompts import Message, encode_chat


def vowels(completions: list[Any], **_: Any) -> list[float]:
    """Reward: twice the share of vowels among an answer's characters."""
    texts = [completion[0]["content"] for completion in completions]
    return [2.0 * sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


class Paid:
    """Pays for vowels, and keeps the answers of the first rollout.

    Whether a short training's later answers are better hangs on what it happens to draw, and the draws on the order
    in which a processor sums. That the answers it was paid for become likelier than those beside them does not.
    """

    def __init__(self) -> None:
        self.prompts: list[list[Message]] = []
        self.answers: list[list[int]] = []
        self.rewards: list[float] = []

    def __call__(self, prompts: list[Any], completions: list[Any], completion_ids: list[Any], **_: Any) -> list[float]:
        rewards = vowels(completions)
        if not self.rewards:
            self.prompts, self.answers, self.rewards = prompts, completion_ids, rewards
        return rewards

    def followed(self, before: torch.nn.Module, after: torch.nn.Module, base: Base) -> float:
        """Correlation of an answer's reward and how much likelier it became, each above its prompt's mean."""
        prompts = [encode_chat(base, prompt) for prompt in self.prompts]
        rows = [(prompt + list(ids), len(prompt)) for prompt, ids in zip(prompts, self.answers, strict=True)]
        rewards, rise = torch.tensor(self.rewards), likelihoods(after, rows, base) - likelihoods(before, rows, base)
        group = torch.tensor([self.prompts.index(prompt) for prompt in self.prompts])
        for place in group.unique():
            for figure in (rewards, rise):
                figure[group == place] -= figure[group == place].mean()
        return float(torch.corrcoef(torch.stack([rewards, rise]))[0, 1])


@torch.inference_mode()
def likelihoods(model: torch.nn.Module, rows: list[tuple[list[int], int]], base: Base) -> torch.Tensor:
    """Log-likelihood [N] of each row's answer."""
    model.eval()
    found = torch.zeros(len(rows))
    for batch in batches(rows, base.tokenizer.pad_token_id, 8, base.device):
        found[batch.rows] = log_likelihood(model, batch)
    return found
