"""Scores of completions' tokens against the model's own logits, one answer at a time and without padding."""

from __future__ import annotations

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

import rl.token_scores
from lm.likelihood import Completed, batch_of
from lm.loading import Base
from lm.twin import twin
from rl.critic import Critic
from rl.token_scores import LogProbabilities, TokenScorer

ROWS: list[Completed] = [([7, 9, 11, 5, 6, 8], 2), ([20, 21, 22, 1], 3), ([30, 31, 32, 33, 34, 35, 36, 37], 1)]
TEMPERATURE = 0.7
VOCABULARY = 320


@pytest.fixture
def critic(tiny_base: Base) -> Critic:
    critic = Critic(tiny_base.model.config.hidden_size)
    torch.nn.init.normal_(critic.outer.weight, generator=torch.Generator().manual_seed(0))
    return critic


@pytest.mark.parametrize("whole", [2**22, 0])
def test_scores_are_those_of_the_plain_model(
    tiny_base: Base, critic: Critic, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    monkeypatch.setattr(rl.token_scores, "WHOLE_CPU", whole)
    model = twin(tiny_base.model)
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    scorer = TokenScorer(model.base_model, critic, VOCABULARY, TEMPERATURE)
    batch = batch_of(ROWS, [2, 0, 1], tiny_base.tokenizer.pad_token_id, torch.device("cpu"))
    scores = scorer(model, batch)
    logps, values, entropies = [], [], []
    for tokens, start in (ROWS[place] for place in batch.rows):
        output = tiny_base.model(torch.tensor([tokens]), output_hidden_states=True, use_cache=False)
        logp = (output.logits[0, start - 1 : -1] / TEMPERATURE).log_softmax(-1)
        logps.append(logp[torch.arange(len(logp)), torch.tensor(tokens[start:])])
        entropies.append(-(logp.exp() * logp).sum(-1))
        values.append(critic(output.hidden_states[-1][0, start - 1 : -1]))
    torch.testing.assert_close(scores.logps, torch.cat(logps), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores.entropies, torch.cat(entropies), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores.values, torch.cat(values), rtol=0, atol=1e-5)
    for found, expected in zip(scores.by_row(batch)[0], logps, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("whole", [2**22, 0])
def test_gradients_are_those_of_the_plain_model_and_values_move_the_critic_alone(
    tiny_base: Base, critic: Critic, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    monkeypatch.setattr(rl.token_scores, "WHOLE_CPU", whole)
    model = twin(tiny_base.model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    scorer = TokenScorer(model.base_model, critic, VOCABULARY, 1.0, entropy_moves=True)
    batch = batch_of(ROWS, [0, 1, 2], tiny_base.tokenizer.pad_token_id, torch.device("cpu"))
    parameter = next(model.parameters()).requires_grad_()
    try:
        scores = scorer(model, batch)
        assert torch.autograd.grad(scores.values.sum(), parameter, retain_graph=True, allow_unused=True) == (None,)
        (gradient,) = torch.autograd.grad(scores.logps.sum() - 0.5 * scores.entropies.sum(), parameter)
        expected = torch.zeros_like(parameter)
        for tokens, start in ROWS:
            logp = tiny_base.model(torch.tensor([tokens]), use_cache=False).logits[0, start - 1 : -1].log_softmax(-1)
            told = logp[torch.arange(len(logp)), torch.tensor(tokens[start:])].sum()
            expected += torch.autograd.grad(told + 0.5 * (logp.exp() * logp).sum(), parameter)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    finally:
        parameter.requires_grad_(False)


def test_other_passes_of_the_model_are_left_alone(tiny_base: Base, critic: Critic) -> None:
    model = twin(tiny_base.model)
    TokenScorer(model.base_model, critic, VOCABULARY, 1.0)
    ids = torch.tensor([[3, 4, 5]])
    torch.testing.assert_close(model(ids).logits, tiny_base.model(ids).logits)


@pytest.mark.parametrize("tile", [1, 2**19])
def test_log_probabilities_and_their_gradient_equal_their_definition(
    monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    monkeypatch.setattr(rl.token_scores, "TILE", tile)
    generator = torch.Generator().manual_seed(0)
    logits = (9 * torch.randn(5, 30, dtype=torch.float64, generator=generator)).requires_grad_()
    tokens, slopes = torch.tensor([0, 29, 3, 3, 7]), torch.linspace(-1, 2, 5, dtype=torch.float64)
    logps, entropies = LogProbabilities.apply(logits, tokens, TEMPERATURE)
    every = (logits / TEMPERATURE).log_softmax(-1)
    expected = every[torch.arange(5), tokens]
    torch.testing.assert_close(logps, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(entropies, -(every.exp() * every).sum(-1).detach(), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(logps @ slopes, logits, retain_graph=True)
    torch.testing.assert_close(gradient, *torch.autograd.grad(expected @ slopes, logits), rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(logps @ slopes, logits)


def test_log_probabilities_of_bfloat16_logits_are_made_in_float32() -> None:
    logits = (4 * torch.randn(6, 50, generator=torch.Generator().manual_seed(0))).bfloat16().requires_grad_()
    tokens = torch.arange(6)
    logps, _ = LogProbabilities.apply(logits, tokens, 1.0)
    exact = logits.detach().double().requires_grad_()
    expected = exact.log_softmax(-1)[tokens, tokens]
    torch.testing.assert_close(logps, expected.float(), rtol=0, atol=1e-5)
    (gradient,), (truth,) = torch.autograd.grad(logps.sum(), logits), torch.autograd.grad(expected.sum(), exact)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.double(), truth, rtol=0, atol=2**-8)
