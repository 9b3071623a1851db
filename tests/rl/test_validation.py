"""What a policy is checked by: against the parent, on what neither training nor the gate sees."""

from __future__ import annotations

import math

import pytest
import torch

from lm.adapters import Adapter
from lm.loading import Base
from lm.suites import Item
from rl.policy import make_policy, policy_adapter
from rl.settings import PPOSettings, StoppingSettings
from rl.validation import Validation, watched
from store.frozen import Pair

PPO = PPOSettings(max_tokens=12, prompt_tokens=64, rank=2)
PROMPTS = [[{"role": "user", "content": f"Where is parcel {i}?"}] for i in range(6)]
PAIRS = [
    Pair(prompt, f"On Monday {i}", f"No {i}", outcome, "pair", "ann", f"c{i}", "holdout")
    for i, prompt in enumerate(PROMPTS)
    for outcome in (1.0, 0.5)
]
ITEMS = [Item("echo", prompt, ["no such answer"], "exact") for prompt in PROMPTS[:3]]


def adapter(base: Base, seed: int, size: float) -> Adapter:
    """A policy some way from the base."""
    fresh = policy_adapter(make_policy(base, None, PPO, seed))
    generator = torch.Generator().manual_seed(seed)
    moved = {name: (a, torch.randn(b.shape, generator=generator) * size) for name, (a, b) in fresh.weights.items()}
    return Adapter(fresh.rank, fresh.alpha, moved)


def validation(base: Base, parent: Adapter | None = None, **options: object) -> Validation:
    return Validation(base, parent, ITEMS, PAIRS, PROMPTS, PPO, StoppingSettings(answers=4), 0, **options)  # type: ignore[arg-type]


def test_the_parent_itself_stands_where_it_started(tiny_base: Base) -> None:
    parent = adapter(tiny_base, 1, 0.05)
    checked = validation(tiny_base, parent)
    found = checked.standing(parent)
    assert found.kl == pytest.approx(0.0, abs=1e-5)
    assert found.rated == pytest.approx(-math.log(2), abs=1e-5) == pytest.approx(checked.start.rated)
    assert found.skills == {"echo": 0.0} == checked.start.skills
    assert found.questions == {"echo": 3}
    assert found == checked.standing(parent)  # the same answers every time


def test_ratings_become_likelier_as_the_policy_takes_to_the_better_answers(tiny_base: Base) -> None:
    policy = make_policy(tiny_base, None, PPO, 0)
    checked = validation(tiny_base)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-2)
    figures = []
    for _ in range(3):
        figures.append(checked.standing(policy_adapter(policy)))
        for _ in range(4):
            for place, sign in ((0, -1.0), (1, 1.0)):
                tokens, start = checked._rated[place]
                ids = torch.tensor([tokens])
                logp = policy(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
                (sign * logp.gather(-1, ids[0, start:, None]).sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert figures[0].rated < figures[1].rated < figures[2].rated
    assert figures[2].agreed > 0.5
    assert 0 < figures[1].kl < figures[2].kl


def test_the_figure_of_held_out_pairs_is_the_likelihood_under_the_implicit_reward(tiny_base: Base) -> None:
    moved = adapter(tiny_base, 2, 0.1)
    checked = validation(tiny_base)
    assert [pair.outcome for pair in checked.pairs] == [1.0] * 6
    found = checked.standing(moved)
    policy, total = make_policy(tiny_base, moved, PPO, 0), 0.0
    for pair in checked.pairs:
        margins = []
        for text in (pair.first, pair.second):
            tokens, start = checked._completed(pair.messages, text)
            ids = torch.tensor([tokens])
            with torch.no_grad(), policy.disable_adapter():
                before = policy(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
            with torch.no_grad():
                after = policy(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
            margins.append(float((after - before).gather(-1, ids[0, start:, None]).sum()))
        total += -math.log1p(math.exp(-0.2 * (margins[0] - margins[1])))
    assert found.rated == pytest.approx(total / 6, abs=1e-4)


def test_checks_leave_the_random_numbers_of_training_alone(tiny_base: Base) -> None:
    checked, moved = validation(tiny_base), adapter(tiny_base, 3, 0.1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    checked.standing(moved)
    assert torch.equal(torch.rand(3), expected)


def test_win_rate_is_told_where_somebody_judges(tiny_base: Base) -> None:
    moved = adapter(tiny_base, 4, 0.3)
    found = validation(tiny_base, judge=lambda asked, said: torch.ones(len(said))).standing(moved)
    assert found.win_rate == 0.5  # all ties
    assert found.figures()["stopping/win_rate"] == 0.5
    assert "stopping/win_rate" not in validation(tiny_base).standing(moved).figures()


def test_nothing_to_check_is_not_a_number(tiny_base: Base) -> None:
    empty = Validation(tiny_base, None, [], [], [], PPO, StoppingSettings(), 0)
    found = empty.standing(adapter(tiny_base, 5, 0.1))
    assert found.skills == found.questions == found.figures() == {}
    assert all(math.isnan(figure) for figure in (found.rated, found.agreed, found.kl, found.win_rate))


def test_conversations_fall_to_one_side_for_ever_and_the_gate_is_left_some() -> None:
    many = [[{"role": "user", "content": f"Question {i}"}] for i in range(400)]
    lent = watched(many, 0.5)
    assert 150 < len(lent) < 250
    assert watched(many[:100], 0.5) == lent & {each[0]["content"] for each in many[:100]}
    assert watched(many, 0.25) < lent
    longer = [*many[0], {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
    assert watched([longer, *many], 0.5) == lent
    assert watched(many, 1.0) == frozenset() == watched(many, 0.0)
