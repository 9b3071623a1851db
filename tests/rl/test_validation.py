"""What a policy is checked by: against the parent, on what neither training nor the gate sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from lm.adapters import Adapter
from lm.loading import Base
from lm.suites import Item
from reward.settings import RewardSettings
from rl.policy import make_policy, policy_adapter
from rl.settings import PPOSettings, StoppingSettings
from rl.validation import Validation, held_out_judge, watched
from store.frozen import Frozen, Messages, Pair, Split

PPO = PPOSettings(max_tokens=12, prompt_tokens=64, rank=2)
PROMPTS = [[{"role": "user", "content": f"Where is parcel {i}?"}] for i in range(6)]
ITEMS = [Item("echo", prompt, ["no such answer"], "exact") for prompt in PROMPTS[:3]]


def adapter(base: Base, seed: int, size: float) -> Adapter:
    """A policy some way from the base."""
    fresh = policy_adapter(make_policy(base, None, PPO, seed))
    generator = torch.Generator().manual_seed(seed)
    moved = {name: (a, torch.randn(b.shape, generator=generator) * size) for name, (a, b) in fresh.weights.items()}
    return Adapter(fresh.rank, fresh.alpha, moved)


def validation(base: Base, parent: Adapter | None = None, **options: object) -> Validation:
    return Validation(base, parent, ITEMS, PROMPTS, PPO, StoppingSettings(answers=4), 0, **options)  # type: ignore[arg-type]


def test_the_parent_itself_stands_where_it_started(tiny_base: Base) -> None:
    parent = adapter(tiny_base, 1, 0.05)
    checked = validation(tiny_base, parent)
    found = checked.standing(parent)
    assert found.kl == pytest.approx(0.0, abs=1e-5)
    assert found.skills == {"echo": 0.0} == checked.start.skills
    assert found.right == {"echo": (False,) * 3}
    assert found == checked.standing(parent)  # the same answers every time


def lengths(asked: Sequence[Messages], answers: Sequence[str]) -> torch.Tensor:
    """A judge that likes long answers."""
    return torch.tensor([float(len(answer)) for answer in answers])


def test_each_answer_is_judged_beside_the_parents_to_the_same_prompt(tiny_base: Base) -> None:
    checked = validation(tiny_base, judge=lengths)
    still = checked.standing(adapter(tiny_base, 1, 0.0))
    assert still.by_answer == (0.0,) * 4
    assert (still.gain, still.win_rate) == (0.0, 0.5)  # all ties
    moved = adapter(tiny_base, 2, 0.3)
    found = checked.standing(moved)
    texts = {}
    for name, installed in (("parent", None), ("moved", moved)):
        checked._engine.install(name, installed)
        texts[name] = [text for text, _ in checked._sampled(name)]
    margins = [len(after) - len(before) for after, before in zip(texts["moved"], texts["parent"], strict=True)]
    assert any(margins)
    assert found.by_answer == tuple(map(float, margins))
    assert found.gain == sum(margins) / 4
    assert found.win_rate == sum((margin > 0) + 0.5 * (margin == 0) for margin in margins) / 4
    assert found.kl > 0


def test_the_held_out_judge_learns_from_the_held_out_ratings_that_are_lent_and_no_others(tiny_base: Base) -> None:
    def pairs(better: str, worse: str, split: Split, first: int) -> list[Pair]:
        return [
            Pair(
                [{"role": "user", "content": f"Question {n}?"}],
                f"{better} {n}",
                f"{worse} {n}",
                1.0,
                "pair",
                "ann",
                f"c{n}",
                split,
            )
            for n in range(first, first + 24)
        ]

    kind, curt = "Thank you, it arrives on Monday.", "No."
    frozen = Frozen(
        "0" * 64,
        pairs(curt, kind, "train", 0) + pairs(kind, curt, "holdout", 24) + pairs(curt, kind, "holdout", 48),
        [],
        [],
    )
    lent = {f"Question {n}?" for n in range(24, 48)}
    judge = held_out_judge(tiny_base, frozen, lent, RewardSettings(heads=2, context=96), least=20)
    assert judge is not None
    asked = [[{"role": "user", "content": f"Question {n}?"}] for n in (100, 101)] * 2
    rewards = judge(asked, [f"{kind} 100", f"{kind} 101", f"{curt} 100", f"{curt} 101"])
    assert (rewards[:2] > rewards[2:]).all()
    assert held_out_judge(tiny_base, frozen, lent, RewardSettings(), least=25) is None


def test_checks_leave_the_random_numbers_of_training_alone(tiny_base: Base) -> None:
    checked, moved = validation(tiny_base), adapter(tiny_base, 3, 0.1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    checked.standing(moved)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_to_check_is_not_a_number(tiny_base: Base) -> None:
    empty = Validation(tiny_base, None, [], [], PPO, StoppingSettings(), 0)
    found = empty.standing(adapter(tiny_base, 5, 0.1))
    assert found.skills == found.right == found.figures() == {}
    assert all(math.isnan(figure) for figure in (found.gain, found.kl, found.win_rate))


def test_conversations_fall_to_one_side_for_ever_and_the_gate_is_left_some() -> None:
    many = [[{"role": "user", "content": f"Question {i}"}] for i in range(400)]
    lent = watched(many, 0.5)
    assert 150 < len(lent) < 250
    assert watched(many[:100], 0.5) == lent & {each[0]["content"] for each in many[:100]}
    assert watched(many, 0.25) < lent
    longer = [*many[0], {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
    assert watched([longer, *many], 0.5) == lent
    assert watched(many, 1.0) == frozenset() == watched(many, 0.0)
