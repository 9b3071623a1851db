from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from lm.starter.recipe import AnswerLoss, Recipe, new_model, optimizers, rate

SMALL = Recipe(hidden=32, layers=1, heads=2, inner=64)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return new_model(SMALL, tokenizer)


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(warmup=0.1, decay=0.4)
    assert rate(recipe, 0.0) < 0.01
    assert rate(recipe, 0.05) == pytest.approx(0.5, abs=0.01)
    assert rate(recipe, 0.3) == 1.0
    assert rate(recipe, 0.8) == pytest.approx(0.5)
    assert rate(recipe, 1.0) == 0.0


def test_the_loss_is_that_of_the_whole_model(model: LlamaForCausalLM) -> None:
    torch.manual_seed(0)
    ids = torch.randint(5, 500, (2, 9))
    targets = torch.full((2, 9), -100)
    targets[0, 4:6] = torch.tensor([7, 8])
    targets[1, 8] = 9
    logits = model(input_ids=ids).logits
    wanted = torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-100)
    assert AnswerLoss(model)(ids, targets).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_every_weight_has_one_optimizer(model: LlamaForCausalLM) -> None:
    groups = [group["params"] for optimizer in optimizers(SMALL, model) for group in optimizer.param_groups]
    held = [id(parameter) for group in groups for parameter in group]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
