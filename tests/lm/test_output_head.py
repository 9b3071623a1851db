"""Log-probabilities in tiles: as the whole has them, gradients too, in every family, with no tensor of all logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from lm import output_head
from lm.engine import Engine
from lm.likelihood import Batch, Completed, batch_of, log_likelihood, mean_kl
from lm.loading import Base
from lm.output_head import OutputHead
from lm.settings import EngineSettings
from reward.features import trunk_features
from rl.anchor import adapter_parameters, fisher_information
from rl.policy import make_policy
from rl.replay import ParentKL, Replay
from rl.settings import PPOSettings

from .test_families import FAMILIES, OTHERS

VOCABULARY = 152_000
# Three sequences with 330 positions to be scored: three tiles over this vocabulary.
LONG: list[Completed] = [([(13 * i + k) % 150_000 for k in range(120 + i)], 10) for i in range(3)]
SHORT: list[Completed] = [([7, 8, 9, 10, 11, 12], 3), ([20, 21, 22, 23], 1), ([30, 31, 32, 33, 34, 35, 36], 5)]


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation makes, backward passes included."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


@contextmanager
def no_whole_logits(saved_at_most: int = 2**20) -> Iterator[None]:
    """Fails where a tensor larger than a tile is made, or where tiles are kept for a backward pass."""
    saved = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() if tensor.shape[-1:] == (VOCABULARY,) else 0
        return tensor

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield
    assert largest.numbers <= output_head.TILE, f"a tensor of {largest.numbers:,} numbers was made"
    assert largest.numbers > output_head.TILE // 2, "the tiles are what was seen"
    assert saved <= saved_at_most


@pytest.fixture(scope="module")
def wide(tiny_base: Base) -> Base:
    """A model that is tiny but for its vocabulary."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        initializer_range=0.5,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return replace(tiny_base, model=model)


def moved(policy: Any, seed: int = 1) -> Any:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(policy).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
    return policy


def whole(model: Any, batch: Batch) -> Tensor:
    """Log-probabilities of every position, [B, T - 1, vocabulary]: the definition."""
    logits = model(input_ids=batch.ids, attention_mask=batch.reads, use_cache=False).logits[:, :-1]
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def whole_batch(rows: list[Completed]) -> Batch:
    return batch_of(rows, list(range(len(rows))), 0, torch.device("cpu"))


def test_the_kl_of_two_policies_never_holds_all_logits(wide: Base) -> None:
    policy, reference = (moved(make_policy(wide, None, PPOSettings(rank=2), 0), seed) for seed in (1, 2))
    with no_whole_logits():
        found = mean_kl(policy, reference, LONG, 0)
    batch = whole_batch(LONG)
    with torch.inference_mode():
        logp, logq = whole(policy, batch), whole(reference, batch)
    expected = float(((logp.exp() * (logp - logq)).sum(-1) * batch.scored).sum()) / len(LONG)
    assert expected > 1
    assert found == pytest.approx(expected, rel=1e-5)


def test_fisher_information_never_holds_all_logits(wide: Base) -> None:
    policy = moved(make_policy(wide, None, PPOSettings(rank=2), 0))
    with no_whole_logits():
        found = fisher_information(policy, LONG, 0, batch=3)
    expected = {name: torch.zeros_like(parameter) for name, parameter in adapter_parameters(policy).items()}
    for row in LONG:
        batch = whole_batch([row])
        chosen = whole(policy, batch).gather(-1, batch.ids[:, 1:, None])[..., 0]
        (chosen * batch.scored).sum().backward()
        for name, parameter in adapter_parameters(policy).items():
            expected[name] += parameter.grad**2 / len(LONG)
        policy.zero_grad()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5 * float(expected[name].max()))
        assert value.any()


def test_the_engines_likelihood_never_holds_all_logits(wide: Base) -> None:
    engine = Engine(wide, EngineSettings(slots=2, context=256))
    prompts, completions = ([ids[:start] for ids, start in LONG], [ids[start:] for ids, start in LONG])
    with no_whole_logits():
        found = engine.likelihood(prompts, completions)
    batch = whole_batch(LONG)
    with torch.inference_mode():
        chosen = whole(wide.model, batch).gather(-1, batch.ids[:, 1:, None])[..., 0]
    assert found == pytest.approx((chosen * batch.scored).sum(1).tolist(), rel=1e-5)


def test_replay_never_holds_all_logits(wide: Base) -> None:
    policy = make_policy(wide, None, PPOSettings(rank=2), 0)
    replay = Replay(LONG, {name: p.detach().clone() for name, p in adapter_parameters(policy).items()})
    measured = ParentKL(moved(policy), replay, 0, 3)
    with no_whole_logits(
        saved_at_most=10**9
    ):  # each tile's are let go of at once, since it is gone back through at once
        kl, gradients = measured.gradient([0, 1, 2])
    assert kl > 1
    assert any(gradient.any() for gradient in gradients.values())


def test_features_of_answers_never_hold_all_logits(wide: Base) -> None:
    question = [{"role": "user", "content": "Where is it?"}]
    with no_whole_logits():
        features, _ = trunk_features(wide, [question], ["There. " * 60], context=400)
    assert features.isfinite().all()


@pytest.mark.parametrize("tile", [1, 700, 2**24])
def test_likelihoods_and_their_gradients_equal_the_whole(
    load_tiny: Callable[[], Base], monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    monkeypatch.setattr(output_head, "TILE", tile)
    policy = moved(make_policy(load_tiny(), None, PPOSettings(rank=3), 0).double())
    batch, weights = whole_batch(SHORT), torch.tensor([1.0, -2.0, 0.5])
    parameters = list(adapter_parameters(policy).values())
    found = log_likelihood(policy, batch)
    gradients = torch.autograd.grad((found * weights).sum(), parameters)
    chosen = whole(policy, batch).gather(-1, batch.ids[:, 1:, None])[..., 0]
    expected = (chosen * batch.scored).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(gradients, torch.autograd.grad((expected * weights).sum(), parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_completion_of_no_token_has_likelihood_one(tiny_base: Base) -> None:
    assert log_likelihood(tiny_base.model, whole_batch([([5, 6], 2), ([5, 6, 7], 2)]))[0] == 0
    assert log_likelihood(tiny_base.model, whole_batch([([5, 6], 2)])).tolist() == [0.0]


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_what_a_class_puts_after_its_head_is_kept(family: str) -> None:
    """Soft caps, scales, and trunks that answer with more than hidden states (experts' routers)."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = AutoModelForCausalLM.from_config((FAMILIES | OTHERS)[family]).eval()
    batch = whole_batch(SHORT)
    with torch.inference_mode():
        head = OutputHead(model)
        found = head(head.hidden_states(batch.ids, batch.reads)[batch.scored])
        torch.testing.assert_close(found, whole(model, batch)[batch.scored], rtol=1e-5, atol=1e-5)
