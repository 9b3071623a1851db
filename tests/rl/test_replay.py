"""The KL on replayed answers against its definition in float64, and a training cut in two against one that was not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from lm.likelihood import Completed
from lm.loading import Base, load_base
from problems import Problem
from rl.anchor import adapter_parameters
from rl.policy import make_policy
from rl.replay import ParentKL, Replay, load_replay
from rl.settings import PPOSettings

ANSWERS: list[Completed] = [([7, 8, 9, 10, 11, 12], 3), ([20, 21, 22, 23], 1), ([30, 31, 32, 33, 34, 35, 36], 5)]


@pytest.fixture
def policy(tiny_base: Base) -> PeftModel:
    return make_policy(tiny_base, None, PPOSettings(rank=3, alpha=6.0), seed=0)


def here(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in adapter_parameters(model).items()}


def move(model: PeftModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def kl_in_float64(parent: list[np.ndarray], policy: list[np.ndarray]) -> float:
    """Over answers and positions, the sum over the vocabulary of p (log p - log q); logits [positions, vocabulary]."""
    pairs = [(log_softmax(theirs), log_softmax(ours)) for theirs, ours in zip(parent, policy, strict=True)]
    return float(sum((np.exp(logp) * (logp - logq)).sum() for logp, logq in pairs))


def whole(model: PeftModel) -> list[torch.Tensor]:
    """Logits at each answer's positions, one sequence at a time."""
    return [model(input_ids=torch.tensor([tokens])).logits[0, start - 1 : -1].double() for tokens, start in ANSWERS]


def logits(model: PeftModel) -> list[np.ndarray]:
    return [rows.detach().numpy() for rows in whole(model)]


@pytest.mark.parametrize("chunk", [1, 2**22])
def test_kl_and_gradient_equal_their_definitions_in_float64(
    load_tiny: Callable[[], Base], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("lm.output_head.TILE", chunk)
    policy = make_policy(load_tiny(), None, PPOSettings(rank=3, alpha=6.0), seed=0).double()
    move(policy, seed=1)
    parent, replay = logits(policy), Replay(ANSWERS, here(policy))
    move(policy, seed=2)
    before = here(policy)
    measured = ParentKL(policy, replay, pad_id=0, batch=2)
    assert all(torch.equal(value, before[name]) for name, value in here(policy).items())
    kl, gradients = measured.gradient([2, 0, 1])
    expected = kl_in_float64(parent, logits(policy))
    assert expected > 0.1
    assert kl.item() == pytest.approx(expected, rel=1e-6)
    for ours, theirs in zip(whole(policy), parent, strict=True):  # by logits the gradient is q - p
        slope = np.exp(log_softmax(ours.detach().numpy())) - np.exp(log_softmax(theirs))
        ours.backward(torch.from_numpy(slope))
    for name, parameter in adapter_parameters(policy).items():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-6, atol=1e-6)
        assert gradients[name].any()


def test_parents_distribution_costs_nothing_at_the_parent(policy: PeftModel) -> None:
    move(policy, seed=1)
    kl, gradients = ParentKL(policy, Replay(ANSWERS, here(policy)), 0, 4).gradient([2, 0])
    assert abs(kl.item()) < 1e-5
    assert all(gradient.abs().max() < 1e-5 for gradient in gradients.values())


def test_on_a_base_in_bfloat16_it_is_what_the_same_weights_say_in_float32(tiny_folder: Path) -> None:
    measured = {}
    for dtype in ("bfloat16", "float32"):
        base = load_base(str(tiny_folder), "cpu", "bfloat16")  # both rounded alike
        policy = make_policy(replace(base, model=base.model.to(getattr(torch, dtype))), None, PPOSettings(rank=3), 0)
        assert {p.dtype for p in adapter_parameters(policy).values()} == {torch.float32}
        move(policy, seed=1)
        replayed = ParentKL(policy, Replay(ANSWERS, here(policy)), 0, 4)
        assert replayed.gradient([0, 1, 2])[0].abs() < 1e-3  # at the parent itself
        move(policy, seed=2)
        kl, gradients = replayed.gradient([0, 1, 2])
        assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
        measured[dtype] = kl.item(), torch.cat([gradients[name].flatten() for name in sorted(gradients)])
    (narrow, rounded), (wide, exact) = measured["bfloat16"], measured["float32"]
    assert narrow == pytest.approx(wide, rel=0.05)
    assert torch.linalg.norm(rounded - exact) < 0.05 * torch.linalg.norm(exact)


def test_saved_and_loaded_it_is_the_same(policy: PeftModel, tmp_path: Path) -> None:
    replay = Replay(ANSWERS, here(policy))
    replay.save(tmp_path / "replay.safetensors")
    loaded = load_replay(tmp_path / "replay.safetensors")
    assert loaded.sequences == ANSWERS
    assert set(loaded.parent) == set(replay.parent)
    assert all(torch.equal(value, replay.parent[name]) for name, value in loaded.parent.items())


def test_soft_caps_and_scales_after_the_head_are_the_models_own() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=0.5,
        initializer_range=0.5,
    )
    model = get_peft_model(Gemma2ForCausalLM(config).double(), LoraConfig(r=2, target_modules="all-linear")).eval()
    parent, replay = logits(model), Replay(ANSWERS, here(model))
    measured = ParentKL(model, replay, 0, 4)
    move(model, seed=3)
    assert max(np.abs(rows).max() for rows in parent) < 0.5
    expected = kl_in_float64(parent, logits(model))
    assert measured.gradient([0, 1, 2])[0].item() == pytest.approx(expected, rel=1e-6)


def test_an_adapter_on_the_output_head_is_refused(tiny_base: Base) -> None:
    from peft import LoraConfig, get_peft_model

    from lm.twin import twin

    model = get_peft_model(twin(tiny_base.model), LoraConfig(r=2, target_modules=["lm_head"]))
    with pytest.raises(Problem, match="output head"):
        ParentKL(model, Replay(ANSWERS, here(model)), 0, 4)
