"""Likelihood of given completions: against the model alone, under an adapter, and beside running requests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lm.engine import Engine
from lm.likelihood import PASS, batches, groups_by_length, log_likelihood
from lm.settings import EngineSettings, Sampling
from problems import Problem

if TYPE_CHECKING:
    from lm.adapters import Adapter
    from lm.loading import Base

PROMPTS = [[(7 * i + 3 * k) % 300 + 6 for k in range(length)] for i, length in enumerate((1, 30, 3, 12, 9))]
COMPLETIONS = [[(5 * i + 11 * k) % 300 + 6 for k in range(length)] for i, length in enumerate((4, 1, 9, 2, 20))]


def alone(base: Base, prompt: list[int], completion: list[int]) -> float:
    with torch.inference_mode():
        logits = base.model(torch.tensor([prompt + completion])).logits[0].float()
    logp = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return float(logp[torch.arange(len(completion)), completion].sum())


def test_it_is_that_of_the_model_alone_in_the_given_order(tiny_base: Base) -> None:
    found = Engine(tiny_base, EngineSettings(slots=2)).likelihood(PROMPTS, COMPLETIONS)
    wanted = [alone(tiny_base, prompt, completion) for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)]
    assert found == pytest.approx(wanted, rel=1e-4)


def cuts(count: int) -> Iterator[list[range]]:
    """Every way to cut `count` places in a row into groups of neighbours."""
    for ends in itertools.product([False, True], repeat=count - 1):
        edges = [0, *(place + 1 for place, here in enumerate(ends) if here), count]
        yield [range(*edge) for edge in itertools.pairwise(edges)]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=7))
def test_rows_are_cut_into_the_cheapest_groups_of_similar_length(lengths: list[int]) -> None:
    groups = groups_by_length(lengths)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    ordered = sorted(lengths)
    cost = sum(len(group) * max(lengths[place] for place in group) + PASS for group in groups)
    assert cost == min(sum(len(part) * ordered[part[-1]] + PASS for part in each) for each in cuts(len(lengths)))


def test_short_answers_run_in_one_pass_and_a_long_one_beside_them_in_another() -> None:
    assert groups_by_length([40, 60, 50, 30]) == [[3, 0, 2, 1]]
    assert groups_by_length([40, 60, 900, 30]) == [[3, 0, 1], [2]]


def test_an_adapter_changes_it_as_it_changes_the_engine_s_own_log_probabilities(
    tiny_base: Base, make_adapter: Callable[..., Adapter]
) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=2))
    engine.install("7", make_adapter())
    done = engine.generate(PROMPTS, Sampling(temperature=1.0, max_tokens=9, seed=3, ignore_eos=True), "7")
    drawn = [completion.token_ids for completion in done]
    wanted = [sum(completion.logprobs) for completion in done]
    assert engine.likelihood(PROMPTS, drawn, "7") == pytest.approx(wanted, rel=1e-3)
    assert engine.likelihood(PROMPTS, drawn) != pytest.approx(wanted, rel=1e-2)


def test_requests_go_on_beside_it(tiny_base: Base, make_adapter: Callable[..., Adapter]) -> None:
    greedy = Sampling(temperature=0, max_tokens=12, ignore_eos=True)
    engine = Engine(tiny_base, EngineSettings(slots=4))
    engine.install("7", make_adapter())
    wanted = engine.generate(PROMPTS[:2], greedy)
    streams = [engine.submit(prompt, greedy) for prompt in PROMPTS[:2]]
    for _ in range(5):
        engine.step()
        engine.likelihood(PROMPTS, COMPLETIONS, "7")
    while engine.step():
        pass
    assert [stream.completion.token_ids for stream in streams] == [completion.token_ids for completion in wanted]


def test_an_unknown_version_is_a_problem(tiny_base: Base) -> None:
    with pytest.raises(Problem, match="No version 3"):
        Engine(tiny_base, EngineSettings(slots=1)).likelihood(PROMPTS, COMPLETIONS, "3")


def test_batches_say_which_sequences_they_hold(tiny_base: Base) -> None:
    rows = [(prompt + completion, len(prompt)) for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)]
    made = list(batches(rows, 0, 2, torch.device("cpu")))
    assert sorted(row for batch in made for row in batch.rows) == [0, 1, 2, 3, 4]
    values = {
        row: value
        for batch in made
        for row, value in zip(batch.rows, log_likelihood(tiny_base.model, batch), strict=True)
    }
    for row in range(5):
        assert float(values[row]) == pytest.approx(alone(tiny_base, PROMPTS[row], COMPLETIONS[row]), rel=1e-4)
