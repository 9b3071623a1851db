"""Ratings as token ids: whose they are, how they are spelled, and in which order they are learned from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lm.loading import Base
from lm.prompts import fit_chat
from problems import Problem
from rl.preference_data import (
    check_evidence,
    correction_rows,
    corrections,
    encode_completed,
    preference_rows,
    preferences,
    training_stream,
    verdict_rows,
    verdicts,
    with_mismatched,
)
from rl.settings import AlgorithmSettings, PPOSettings
from store.frozen import Frozen, Pair, Thumb

PPO = PPOSettings(prompt_tokens=40, max_tokens=12)
ASKED = [{"role": "user", "content": "Where is it?"}]


def pair(first: str, second: str, outcome: float = 1.0, kind: str = "pair", split: Any = "train") -> Pair:
    return Pair(ASKED, first, second, outcome, kind, "ann", "c", split)


def thumb(answer: str, liked: bool, split: Any = "train") -> Thumb:
    return Thumb(ASKED, answer, liked, "thumb", "ann", "c", split)


FROZEN = Frozen(
    "0" * 64,
    pairs=[
        pair("better", "worse"),
        pair("equal", "as good", outcome=0.5),
        pair("bad", "as bad", outcome=0.0),
        pair("written", "given", kind="correction"),
        pair("liked", "disliked", kind="thumbs"),
        pair("held", "out", split="holdout"),
        pair("held", "back", kind="correction", split="holdout"),
    ],
    thumbs=[thumb("liked", True), thumb("disliked", False), thumb("held out", True, "holdout")],
    prompts=[],
)


def test_each_algorithm_gets_the_training_evidence_of_its_kind() -> None:
    assert [each.first for each in preferences(FROZEN)] == ["better", "written", "liked"]
    assert [each.first for each in corrections(FROZEN)] == ["written"]
    liked = {each.answer for each in verdicts(FROZEN) if each.liked}
    others = [each.answer for each in verdicts(FROZEN) if not each.liked]
    assert liked == {"liked", "better", "written"}
    assert sorted(others) == ["as bad", "bad", "disliked", "given", "worse"]  # a tie says nothing, a thumb counts once


@pytest.mark.parametrize("algorithm", ["dpo", "kto", "sft"])
def test_without_evidence_the_problem_says_what_is_missing(algorithm: str) -> None:
    check_evidence(algorithm, FROZEN)
    held_out = replace(FROZEN, pairs=FROZEN.pairs[1:2] + FROZEN.pairs[5:], thumbs=FROZEN.thumbs[::2])
    with pytest.raises(Problem, match=algorithm.upper()) as missing:
        check_evidence(algorithm, held_out)
    assert missing.value.status == 3
    assert missing.value.hint


def test_a_prompt_is_spelled_as_the_engine_spells_it_and_an_answer_is_closed(tiny_base: Base) -> None:
    long = [*ASKED, {"role": "assistant", "content": "It is on its way."}, *ASKED] * 4
    prompt, answer = encode_completed(tiny_base, long, "On Monday.", PPO, 64)
    assert prompt == fit_chat(tiny_base, long, PPO.prompt_tokens)
    assert len(prompt) <= PPO.prompt_tokens
    whole = tiny_base.tokenizer.apply_chat_template(
        [*long, {"role": "assistant", "content": "On Monday."}], tokenize=True, return_dict=False
    )
    assert (prompt + answer)[-20:] == whole[-20:]
    assert answer[-1] in tiny_base.eos_ids
    _, cut = encode_completed(tiny_base, long, "On Monday.", PPO, len(answer) - 1)
    assert cut == answer[:-1]  # what was cut did not end there


def test_only_answers_are_in_the_loss(tiny_base: Base) -> None:
    (row,) = correction_rows(tiny_base, corrections(FROZEN), PPO, 64)
    prompt, answer = encode_completed(tiny_base, ASKED, "written", PPO, 64)
    assert row == {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
    first = preference_rows(tiny_base, preferences(FROZEN), PPO, 64)[1]
    assert first["prompt_ids"] == prompt
    assert first["chosen_ids"] == answer
    assert first["rejected_ids"] != answer


def test_every_pass_is_whole_and_in_an_order_of_its_own() -> None:
    settings = AlgorithmSettings(epochs=3, batch=4)
    stream = training_stream([{"place": place} for place in range(10)], settings, seed=0)["place"]
    assert len(stream) == 32  # three passes, and two rows that fill up the last batch
    passes = [list(stream[begin : begin + 10]) for begin in (0, 10, 20)]
    assert [sorted(each) for each in passes] == [list(range(10))] * 3
    assert passes[0] != passes[1] != passes[2]


def test_a_prompt_is_mismatched_with_the_answer_before_it_in_its_batch(tiny_base: Base) -> None:
    rows = verdict_rows(tiny_base, verdicts(FROZEN), PPO, 64)
    stream = training_stream(rows, AlgorithmSettings(epochs=1, batch=4), seed=0)
    mismatched = with_mismatched(stream, 4)
    right = mismatched["completion_ids"]
    wrong = mismatched["KL_completion_ids"]
    assert len(right) == 8
    for begin in (0, 4):
        assert wrong[begin] == right[begin + 3]
        assert list(wrong[begin + 1 : begin + 4]) == list(right[begin : begin + 3])
