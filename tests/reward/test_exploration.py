"""The pairs that are drawn, against the probabilities that are told of them."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch

from reward.exploration import Drawn, choose_pair, thompson_chances

DRAWS, FEWER = 20_000, 4_000
# Chi-square with 14 degrees of freedom is beyond this once in a thousand times; with fewer, more seldom.
BOUND = 36.1

DISAGREEING = [[3.0, 1.0, 0.0, 2.0, 0.0, 0.0], [0.0, 3.0, 1.0, 0.0, 2.0, 0.0], [9.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
TIED = [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
AGREEING = [[0.0, 2.0, 1.0, 0.0], [1.0, 9.0, 3.0, 2.0], [0.0, 0.1, 0.0, 0.0]]
CASES = {
    "disagreeing": DISAGREEING,
    "tied": TIED,
    "agreeing": AGREEING,
    "agreeing on two": [[1.0, 1.0, 0.0]] * 3,
    "one head": [[0.0, 2.0, 1.0]],
    "one tied head": [[2.0, 2.0, 2.0, 1.0]],
    "two candidates": [[0.0, 1.0], [1.0, 0.0]],
    "two candidates, one mind": [[0.0, 1.0], [0.0, 1.0]],
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(rewards: list[list[float]], uniform_share: float, dice: random.Random) -> tuple[int, int]:
    """The procedure as it is told, with its redraws."""
    candidates = range(len(rewards[0]))

    def named(head: int) -> int:
        return dice.choice([c for c in candidates if rewards[head][c] == max(rewards[head])])

    if dice.random() < uniform_share:
        first, second = dice.sample(candidates, 2)
        return min(first, second), max(first, second)
    for _ in range(30):  # by then every case here that can end has ended
        if len(rewards) < 2:
            break
        first, second = (named(head) for head in dice.sample(range(len(rewards)), 2))
        if first != second:
            return min(first, second), max(first, second)
    first = named(dice.randrange(len(rewards)))
    second = dice.choice([c for c in candidates if c != first])
    return min(first, second), max(first, second)


def chi_square(counts: Counter[tuple[int, int]], chances: dict[tuple[int, int], float]) -> float:
    n = sum(counts.values())
    assert all(chances[pair] > 0 for pair in counts), "what has no chance is not drawn"
    return sum((counts[pair] - n * chance) ** 2 / (n * chance) for pair, chance in chances.items() if chance > 0)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_propensities_are_the_frequencies(case: str, share: float) -> None:
    rewards = torch.tensor(CASES[case])
    pairs = list(itertools.combinations(range(rewards.shape[1]), 2))
    dice, drawn, draws = generator(), Counter[tuple[int, int]](), Counter[str]()
    told: dict[tuple[int, int], float] = {}
    for _ in range(FEWER):
        it = choose_pair(rewards, share, dice)
        assert it.first < it.second
        drawn[it.first, it.second] += 1
        draws[it.draw] += 1
        assert told.setdefault((it.first, it.second), it.propensity) == it.propensity
    thompson = thompson_chances(rewards)
    chances = {pair: share / len(pairs) + (1 - share) * float(thompson[pair]) for pair in pairs}
    assert sum(chances.values()) == pytest.approx(1)
    assert all(told[pair] == pytest.approx(chances[pair]) for pair in told)
    assert chi_square(drawn, chances) < BOUND
    assert draws["uniform"] / draws.total() == pytest.approx(share, abs=0.02)
    # The probabilities are worked out, not found by trying: they are those of the procedure step by step as well.
    steps = random.Random(1)
    assert chi_square(Counter(by_hand(CASES[case], share, steps) for _ in range(FEWER)), chances) < BOUND


def test_twenty_thousand_draws_of_six_candidates_by_five_heads() -> None:
    rewards = torch.randn(5, 6, generator=generator(3))
    dice, drawn, told = generator(), Counter[tuple[int, int]](), {}
    for _ in range(DRAWS):
        it = choose_pair(rewards, 0.2, dice)
        drawn[it.first, it.second] += 1
        told[it.first, it.second] = it.propensity
    assert len(told) == 15, "the even share leaves no pair out"
    assert sum(told.values()) == pytest.approx(1)
    assert chi_square(drawn, told) < BOUND


def test_heads_that_disagree_are_shown_what_they_disagree_on() -> None:
    chances = thompson_chances(torch.tensor(DISAGREEING))
    # Heads 1 and 3 name candidate 0, head 2 names candidate 1: no other pair can be drawn.
    assert float(chances[0, 1]) == 1
    chances = thompson_chances(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    # Of the ordered pairs of different heads ten disagree: four each over {0, 1} and {0, 2}, two over {1, 2}.
    assert chances.flatten().tolist() == pytest.approx([0, 0.4, 0.4, 0, 0, 0.2, 0, 0, 0])


def test_heads_of_one_mind_show_their_choice_beside_any_other() -> None:
    chances = thompson_chances(torch.tensor(AGREEING))
    assert float(chances.sum()) == pytest.approx(1)
    assert [float(chances[pair]) for pair in ((0, 1), (1, 2), (1, 3))] == pytest.approx([1 / 3] * 3)


def test_equal_rewards_are_all_the_best() -> None:
    chances = thompson_chances(torch.zeros(5, 4))
    assert float(chances.sum()) == pytest.approx(1)
    assert chances[chances > 0].tolist() == pytest.approx([1 / 6] * 6)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_single_candidate_stands_on_both_sides(share: float) -> None:
    assert choose_pair(torch.ones(3, 1), share, generator()) == Drawn(0, 0, "uniform", 1.0)


def test_the_same_dice_draw_the_same_pair() -> None:
    rewards = torch.randn(5, 6, generator=generator(1))
    assert choose_pair(rewards, 0.2, generator(7)) == choose_pair(rewards, 0.2, generator(7))
