from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lm.engine import Engine
from lm.evaluation import evaluate, report, wilson
from lm.settings import EngineSettings, Sampling
from lm.suites import Item
from problems import Problem

if TYPE_CHECKING:
    from lm.loading import Base


def items() -> list[Item]:
    def item(skill: str, reference: str, metric: str) -> Item:
        return Item(skill, [{"role": "user", "content": f"{skill} {reference}?"}], [reference], metric)

    return [item("a", "one", "contains"), item("a", "two", "contains"), item("b", "我有两本书。", "bleu"),
            item("c", "Ana moved to Rome.", "rouge")]  # fmt: skip


def test_wilson_by_hand() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    low, high = wilson(20, 20)
    assert (low, high) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_figures_by_skill() -> None:
    measured = report(items(), ["It is one.", "three", "Of course! 我有两本书。", "Ana moved from Rome."])
    assert measured.n == 4
    assert measured.accuracy == 0.5
    assert measured.right == [True, False, True, False]
    assert measured.by_skill["a"]["accuracy"] == 0.5
    assert measured.by_skill["a"]["bleu"] is None
    assert measured.by_skill["b"]["bleu"] == pytest.approx(100.0)
    assert measured.by_skill["c"]["rouge"] == pytest.approx(0.75)
    assert measured.low == pytest.approx(wilson(2, 4)[0])


def test_a_version_answers_every_item_once_and_repeats_with_its_seed(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=3))
    heard: list[int] = []
    sampling = Sampling(temperature=1.0, max_tokens=6, seed=4)
    first = evaluate(engine, "0", items(), sampling, heard.append)
    assert len(first.answers) == 4
    assert heard[-1] == 4
    assert first.answers == evaluate(engine, "0", items(), sampling).answers


def test_one_prompt_asked_twice_is_drawn_twice(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=8))
    same = [items()[0]] * 8
    answers = evaluate(engine, "0", same, Sampling(temperature=1.0, max_tokens=6, seed=4)).answers
    assert len(set(answers)) > 1


def test_a_long_prompt_is_fitted(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=1, context=64))
    long = Item("a", [{"role": "user", "content": "very long " * 200}], ["x"], "contains")
    assert len(evaluate(engine, "0", [long], Sampling(max_tokens=5, temperature=0)).answers) == 1


def test_an_empty_suite_is_a_problem(tiny_base: Base) -> None:
    with pytest.raises(Problem, match="empty"):
        evaluate(Engine(tiny_base, EngineSettings(slots=1)), "0", [], Sampling())
