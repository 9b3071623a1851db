from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from sacrebleu import corpus_bleu

from lm.engine import Engine
from lm.evaluation import Likelihood, evaluate, report, table, wilson
from lm.prompts import encode_chat
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
    bleu, rouge = measured.by_skill["b"]["bleu"], measured.by_skill["c"]["rouge"]
    assert bleu is not None
    assert rouge is not None
    assert bleu["value"] == pytest.approx(100.0)
    assert rouge == {"value": pytest.approx(0.75), "low": pytest.approx(0.75), "high": pytest.approx(0.75)}
    assert measured.by_skill["a"]["perplexity"] is None
    assert measured.low == pytest.approx(wilson(2, 4)[0])


def test_bleu_is_that_of_the_corpus_and_lies_in_its_interval() -> None:
    rng = random.Random(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "red", "birds", "near", "old", "trees"]
    references = [" ".join(rng.choices(words, k=9)) for _ in range(40)]
    answers = [" ".join(w if rng.random() < 0.8 else "dog" for w in text.split()) for text in references]
    asked = [Item("b", [{"role": "user", "content": text}], [text], "bleu") for text in references]
    bleu = report(asked, answers).by_skill["b"]["bleu"]
    assert bleu is not None
    assert bleu["value"] == pytest.approx(corpus_bleu(answers, [references]).score)
    assert bleu["value"] - 15 < bleu["low"] < bleu["value"] < bleu["high"] < bleu["value"] + 15


def test_perplexity_is_that_of_the_model_alone_and_of_the_version(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=3))
    asked = [*items(), replace(items()[0], answer="It is one, I think.")]
    measured = evaluate(engine, "0", asked, Sampling(temperature=0.0, max_tokens=4))
    nats, tokens = 0.0, 0
    for item in asked:
        prompt = encode_chat(tiny_base, item.messages)
        answer = tiny_base.tokenizer(item.answer or item.references[0], add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = tiny_base.model(torch.tensor([prompt + answer])).logits[0]
        logp = logits.float().log_softmax(-1)[len(prompt) - 1 : -1]
        if item.skill == "a":
            nats -= float(logp[torch.arange(len(answer)), answer].sum())
            tokens += len(answer)
    found = measured.by_skill["a"]["perplexity"]
    assert found is not None
    assert found["value"] == pytest.approx(math.exp(nats / tokens), rel=1e-3)
    assert found["low"] <= found["value"] <= found["high"]


def test_the_table_has_a_row_for_each_skill_and_every_figure() -> None:
    costs = [Likelihood(2.0, 2)] * 4
    rows = table("mine", report(items(), ["one", "two", "我有两本书。", "Ana moved to Rome."], costs)).splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["mine", "mine/a", "mine/b", "mine/c"]
    assert "100.0 [100.0, 100.0]" in rows[3]
    assert "1.000 [1.000, 1.000]" in rows[4]
    assert all("2.72 [2.72, 2.72]" in row for row in rows[2:])


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
