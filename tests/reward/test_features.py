"""Features of answers: what they depend on and what they must not depend on."""

from __future__ import annotations

import math

import torch

from lm.loading import Base
from reward.features import encode_pair, trunk_features

QUESTION = [{"role": "user", "content": "Where is my parcel?"}]
LONG = [{"role": "user", "content": "the sun is warm " * 300}, *QUESTION]


def test_batching_and_padding_change_nothing(tiny_base: Base) -> None:
    prompts = [QUESTION, [*QUESTION, {"role": "assistant", "content": "Here."}, *QUESTION], QUESTION]
    answers = ["It left on Monday.", "two plus three is five " * 8, ""]
    together = trunk_features(tiny_base, prompts, answers, context=256)
    alone = torch.cat([trunk_features(tiny_base, [p], [a], context=256) for p, a in zip(prompts, answers, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    narrow = trunk_features(tiny_base, prompts, answers, context=256, batch_tokens=1)
    torch.testing.assert_close(narrow, alone, rtol=1e-4, atol=1e-5)


def test_mean_and_last_state_are_those_of_the_answer(tiny_base: Base) -> None:
    ids, start = encode_pair(tiny_base, QUESTION, "It left on Monday.", 256)
    hidden = tiny_base.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0].float()
    (features,) = trunk_features(tiny_base, [QUESTION], ["It left on Monday."], context=256)
    width = hidden.shape[1]
    torch.testing.assert_close(features[:width], hidden[start:].mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[width:-1], hidden[-1], rtol=1e-4, atol=1e-5)
    assert math.isclose(features[-1], math.log(len(ids) - start) / math.log(256), rel_tol=1e-5)


def test_long_prompts_and_answers_fit_the_context(tiny_base: Base) -> None:
    ids, start = encode_pair(tiny_base, LONG, "three sides " * 200, 64)
    assert len(ids) <= 64
    assert 0 < start < len(ids)
    assert ids[-1] == tiny_base.tokenizer.eos_token_id
    features = trunk_features(tiny_base, [LONG], ["three sides " * 200], context=64)
    assert torch.isfinite(features).all()


def test_progress_ends_at_the_number_of_rows(tiny_base: Base) -> None:
    seen: list[int] = []
    trunk_features(tiny_base, [QUESTION] * 5, ["a"] * 5, context=64, batch_tokens=60, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 5
