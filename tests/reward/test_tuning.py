"""A trunk is tuned on ratings of every kind: what it learns, what it leaves alone, and that it does so again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lm.loading import Base
from problems import Problem
from reward.evidence import KINDS, Evidence, Ratings
from reward.settings import RewardSettings
from reward.tuned import TunedTrunk, load_tuned
from reward.tuning import tune_trunk

EACH = 24  # prompts, each with a good and a bad answer
SETTINGS = RewardSettings(
    context=64, lora_rank=4, lora_alpha=8.0, lora_learning_rate=5e-3, lora_epochs=6, lora_batch_size=8
)
WORDS = ("parcel", "order", "warehouse", "number", "triangle", "morning")


def prompt(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Please tell me of the {WORDS[number % 6]} {number}."}]


def good(number: int) -> str:
    return f"The sun is warm on {WORDS[number % 6]} {number}."


def bad(number: int) -> str:
    return f"Seven is four on {WORDS[number % 6]} {number}."


def evidence(*kinds: str, extra: Callable[[int], str] | None = None) -> Evidence:
    """Ratings of these kinds by two people who like the sun; `extra` gives the bad answers another text."""
    texts = [text for i in range(EACH) for text in (good(i), (extra or bad)(i))]
    prompts = [prompt(i) for i in range(EACH) for _ in (0, 1)]
    goods, bads, every = torch.arange(0, 2 * EACH, 2), torch.arange(1, 2 * EACH, 2), torch.arange(2 * EACH)
    liked = (every % 2 == 0).float()
    found = {
        "pair": (goods, bads, torch.ones(EACH)),
        "correction": (goods, bads, torch.ones(EACH)),
        "thumb": (every, every, liked),
        "score": (every, every, 2 + 7 * liked),
        "tags": (every, every, torch.stack([liked, 1 - liked], dim=1)),
    }
    ratings = {}
    for kind in KINDS:
        first, second, value = (part if kind in kinds else part[:0] for part in found[kind])
        ratings[kind] = Ratings(first, second, value, first % 2, first // 2, torch.ones(len(first), dtype=torch.bool))
    return Evidence(prompts, texts, ratings, ["ann", "bo"], ["Correct", "Wrong"], EACH)


def agreement(trunk: TunedTrunk) -> float:
    """Share of fresh prompts whose good answer has the higher reward."""
    fresh = range(100, 130)
    features, _ = trunk.features([prompt(i) for i in fresh] * 2, [*map(good, fresh), *map(bad, fresh)])
    better, worse = (features @ trunk.score_weight).chunk(2)
    return float((better > worse).float().mean())


def parameters(trunk: TunedTrunk) -> dict[str, Tensor]:
    found = {name: each for name, each in trunk.model.named_parameters() if "lora_" in name}
    return {**found, "score": trunk.score_weight}


def figures(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tuning.jsonl").read_text().splitlines()]


def test_mixed_evidence_teaches_a_preference_and_leaves_the_base_alone(tiny_base: Base, tmp_path: Path) -> None:
    before = {name: each.clone() for name, each in tiny_base.model.state_dict().items()}
    modules = {name: type(module) for name, module in tiny_base.model.named_modules()}
    steps: list[tuple[int, int]] = []
    trunk = tune_trunk(tiny_base, evidence(*KINDS), None, SETTINGS, tmp_path, lambda *done: steps.append(done))
    assert agreement(trunk) > 0.9
    assert {name: type(module) for name, module in tiny_base.model.named_modules()} == modules
    assert all(torch.equal(before[name], each) for name, each in tiny_base.model.state_dict().items())
    assert not any(each.requires_grad for each in tiny_base.model.parameters())
    total = SETTINGS.lora_epochs * 24  # 24 * 8 ratings, 8 a step
    assert steps == [(step, total) for step in range(1, total + 1)]
    lines = figures(tmp_path)
    for kind in KINDS:
        losses = [line[f"loss/{kind}"] for line in lines if f"loss/{kind}" in line]
        assert losses[-1] < losses[0], kind

    trunk.save(tmp_path / "kept", trunk.score_weight)
    again = load_tuned(tmp_path / "kept", tiny_base)
    asked = [prompt(0)] * 2, [good(0), bad(0)]
    assert torch.equal(again.features(*asked)[0] @ again.score_weight, trunk.features(*asked)[0] @ trunk.score_weight)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_teaches_alone(kind: str, tiny_base: Base, tmp_path: Path) -> None:
    assert agreement(tune_trunk(tiny_base, evidence(kind), None, SETTINGS, tmp_path)) > 0.9


def test_the_same_seed_gives_the_same_weights(tiny_base: Base, tmp_path: Path) -> None:
    brief = replace(SETTINGS, lora_epochs=1)
    one, two, other = (
        parameters(tune_trunk(tiny_base, evidence("pair", "score"), None, replace(brief, seed=seed), tmp_path))
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["score"], other["score"])


def test_computing_activations_again_changes_nothing(tiny_base: Base, tmp_path: Path) -> None:
    brief = replace(SETTINGS, lora_epochs=1)
    kept, again = (
        parameters(tune_trunk(tiny_base, evidence("pair"), None, replace(brief, lora_recompute=recompute), tmp_path))
        for recompute in (False, True)
    )
    for name, each in kept.items():
        torch.testing.assert_close(each, again[name], rtol=1e-3, atol=1e-5)


def test_a_rating_of_no_weight_changes_nothing(tiny_base: Base, tmp_path: Path) -> None:
    brief = replace(SETTINGS, lora_epochs=1)
    all_kinds = evidence(*KINDS)
    weights = {kind: torch.ones(len(each)) for kind, each in all_kinds.ratings.items()}
    for each in weights.values():
        each[::3] = 0
    kept = all_kinds.taken({kind: each > 0 for kind, each in weights.items()})
    weighted = tune_trunk(tiny_base, all_kinds, weights, brief, tmp_path)
    without = tune_trunk(tiny_base, kept, None, brief, tmp_path)
    for name, each in parameters(weighted).items():
        assert torch.equal(each, parameters(without)[name]), name


def test_weights_decide_between_people_who_disagree(tiny_base: Base, tmp_path: Path) -> None:
    pairs = evidence("pair")
    ratings = pairs.ratings["pair"]
    swap = ratings.person == 1
    # First every number is even, so both people rate everything: the second one says the contrary.
    both = Ratings(
        torch.cat([ratings.first, ratings.second]),
        torch.cat([ratings.second, ratings.first]),
        torch.ones(2 * EACH),
        torch.cat([swap.long() * 0, swap.long() * 0 + 1]),
        ratings.group.repeat(2),
        ratings.uniform.repeat(2),
    )
    disputed = replace(pairs, ratings={**pairs.ratings, "pair": both})
    weights = {kind: torch.ones(len(each)) for kind, each in disputed.ratings.items()}
    weights["pair"] = torch.where(both.person == 0, 0.05, 1.0)
    assert agreement(tune_trunk(tiny_base, disputed, weights, SETTINGS, tmp_path)) < 0.1


def test_what_length_explains_is_not_in_the_score(tiny_base: Base, tmp_path: Path) -> None:
    def longer(number: int) -> str:
        return f"{good(number)} The sun is warm. The sun is warm."

    def tilt(penalty: float) -> float:
        """Rewards by which a short answer beats a longer one that says the same."""
        settings = replace(SETTINGS, lora_length_penalty=penalty)
        trunk = tune_trunk(tiny_base, evidence("pair", extra=longer), None, settings, tmp_path)
        fresh = range(100, 130)
        features, _ = trunk.features([prompt(i) for i in fresh] * 2, [*map(good, fresh), *map(longer, fresh)])
        better, worse = (features @ trunk.score_weight).chunk(2)
        return float((better - worse).mean())

    free, held = tilt(0.0), tilt(10.0)
    assert free > 0.5
    assert abs(held) < free / 4


def test_narrow_numbers_are_trained_as_such(load_tiny: Callable[[], Base], tmp_path: Path) -> None:
    base = load_tiny()
    base.model.to(torch.bfloat16)
    trunk = tune_trunk(base, evidence("pair"), None, SETTINGS, tmp_path)
    assert agreement(trunk) > 0.9
    assert all(each.dtype == torch.float32 for each in parameters(trunk).values())
    assert all(each.dtype == torch.bfloat16 for each in base.model.parameters())


def test_nothing_to_learn_from_is_said(tiny_base: Base, tmp_path: Path) -> None:
    pairs = evidence("pair")
    weights = {kind: torch.zeros(len(each)) for kind, each in pairs.ratings.items()}
    for nothing, weight in ((evidence(), None), (pairs, weights)):
        with pytest.raises(Problem, match="no rating") as refused:
            tune_trunk(tiny_base, nothing, weight, SETTINGS, tmp_path)
        assert refused.value.status == 3
