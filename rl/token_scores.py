"""What PPO reads off one forward pass: log-probability, entropy and value of every token of the completions.

A forward hook on the backbone hands on the hidden states that predict a completion's token and no other: prompts and
padding never meet the output head. Logits are made whole by the model's own head as long as they are not too large; no
larger tensor of the vocabulary is kept: TRL's fused head works in tiles, and computes them again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lm.likelihood import Batch
from rl.critic import Critic

# Numbers of logits, tokens times vocabulary, up to which they are made whole. A processor computes tiles again at twice
# the time (NOTEBOOK.md) and has the memory: 256 MB in bfloat16. TRL's kernels for a GPU lose nothing.
WHOLE, WHOLE_CPU = 2**22, 2**27
TILE = 2**19  # numbers of them that are widened to float32 at a time: 2 MB


@dataclass(frozen=True)
class TokenScores:
    """Of the completions' tokens of a batch, row after row; each [N], float32."""

    logps: Tensor  # log softmax(logits / temperature) of the token
    entropies: Tensor  # of the distribution that the token was drawn from, nats; none without gradients: [0]
    values: Tensor  # of the state before the token

    def by_row(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """(log-probabilities, values) of each row's completion, on the CPU."""
        lengths = batch.scored.sum(1).tolist()
        return list(self.logps.cpu().split(lengths)), list(self.values.cpu().split(lengths))


def joined(scores: Sequence[TokenScores]) -> TokenScores:
    """The scores of several passes as of one, in their order."""
    return TokenScores(
        *(torch.cat([getattr(each, name) for each in scores]) for name in ("logps", "entropies", "values"))
    )


class TokenScorer:
    """Runs a policy that carries TRL's fused head, and the critic on the same pass.

    The critic's hidden states are detached: the value loss trains the critic alone and never moves the policy, so the
    anchor and the KL have one gradient to hold, not two.

    Args:
        backbone: module whose output has `last_hidden_state`, inside of the models that are scored.
        critic: the head.
        vocabulary: size of the models' output.
        temperature: that the answers were drawn at; the fused head has it too.
        entropy_moves: whether gradients flow through entropies.
    """

    def __init__(
        self, backbone: nn.Module, critic: Critic, vocabulary: int, temperature: float, entropy_moves: bool = False
    ) -> None:
        self.critic, self.vocabulary, self.temperature = critic, vocabulary, temperature
        self.entropy_moves = entropy_moves
        self._scored: Tensor | None = None  # of the pass that is under way
        self._values: Tensor | None = None
        backbone.register_forward_hook(self._read)

    def _read(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if self._scored is None:
            return output  # somebody else's pass, as that of a rollout by transformers
        hidden = output.last_hidden_state[:, :-1][self._scored]
        self._values = self.critic(hidden.detach())
        output.last_hidden_state = hidden[None]
        return output

    def __call__(self, model: nn.Module, batch: Batch) -> TokenScores:
        """Scores of the completions in `batch`. Padding is on the right, where causal attention never looks."""
        self._scored = batch.scored
        try:
            tokens = batch.ids[:, 1:][batch.scored]
            if len(tokens) * self.vocabulary <= (WHOLE_CPU if tokens.device.type == "cpu" else WHOLE):
                logits = model(input_ids=batch.ids, attention_mask=batch.reads, use_cache=False).logits[0]
                logps, entropies = self._of_logits(logits, tokens)
            else:
                output = model(
                    input_ids=batch.ids, attention_mask=batch.reads, shift_labels=tokens[None], fused_lm_head=True
                )
                logps, entropies = output.log_probs[0], output.entropy[0]
        finally:
            self._scored = None
        values, self._values = self._values, None
        assert values is not None, "the backbone was not run"
        return TokenScores(logps, entropies, values)

    def _of_logits(self, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies [N] from logits [N, vocabulary] and tokens [N]."""
        with torch.autocast(logits.device.type, enabled=False):
            if not torch.is_grad_enabled():
                tiles = [_of(chosen, _log_softmax(rows, self.temperature)) for rows, chosen in _tiles(logits, tokens)]
                return torch.cat(tiles), torch.empty(0)
            if self.entropy_moves:
                every = _log_softmax(logits, self.temperature)
                return _of(tokens, every), -(every.exp() * every).sum(-1)
            logps, entropies = LogProbabilities.apply(logits, tokens, self.temperature)
            return logps, entropies


class LogProbabilities(torch.autograd.Function):
    """log softmax(logits / temperature) of one token a row, with its gradient, and the entropy without one.

    What costs is how often long rows are gone over, and memory of their size. So they are read in tiles, and only the
    probabilities are kept, in the logits' format. They become the gradient in their place: a second backward pass
    raises RuntimeError.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies [N], float32 or better, of logits [N, vocabulary] and tokens [N]."""
        probabilities = torch.empty_like(logits)
        logps, entropies = [], []
        for rows, chosen, kept in _tiles(logits, tokens, probabilities):
            every = _log_softmax(rows, temperature)
            exact = every.exp()
            kept.copy_(exact)
            logps.append(_of(chosen, every))
            entropies.append(-torch.einsum("nv,nv->n", exact, every))
        ctx.save_for_backward(probabilities, tokens)
        ctx.temperature = temperature
        entropy = torch.cat(entropies)
        ctx.mark_non_differentiable(entropy)
        return torch.cat(logps), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        """Gradient by the logits: of each row's own token 1, of every token less its probability."""
        probabilities, tokens = ctx.saved_tensors
        slope = (gradient / ctx.temperature).to(probabilities.dtype)[:, None]
        return probabilities.mul_(-slope).scatter_add_(1, tokens[:, None], slope), None, None


def _tiles(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of logits and of the tensors beside them, as many at a time as `TILE` allows."""
    size = max(1, TILE // logits.shape[-1])
    return zip(*(each.split(size) for each in (logits, *others)), strict=True)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Of every token, float32 or better."""
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (scores if temperature == 1.0 else scores / temperature).log_softmax(-1)


def _of(tokens: Tensor, every: Tensor) -> Tensor:
    """What stands at each row's token: [N] of [N, vocabulary]."""
    return every.gather(-1, tokens[:, None]).squeeze(-1)
