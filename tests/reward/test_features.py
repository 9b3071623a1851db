"""Features of answers: what they depend on and what they must not depend on."""

from __future__ import annotations

from typing import Any

import torch

from lm.loading import Base
from reward.features import encode_pair, feature_width, trunk_features

QUESTION = [{"role": "user", "content": "Where is my parcel?"}]
LONG = [{"role": "user", "content": "the sun is warm " * 300}, *QUESTION]


def read(base: Base, prompts: Any, answers: Any, **more: Any) -> torch.Tensor:
    """Features with the tokens as one more column."""
    features, tokens = trunk_features(base, prompts, answers, context=256, **more)
    return torch.cat([features, tokens[:, None]], dim=1)


def test_batching_and_padding_change_nothing(tiny_base: Base) -> None:
    prompts = [QUESTION, [*QUESTION, {"role": "assistant", "content": "Here."}, *QUESTION], QUESTION]
    answers = ["It left on Monday.", "two plus three is five " * 8, ""]
    together = read(tiny_base, prompts, answers)
    alone = torch.cat([read(tiny_base, [p], [a]) for p, a in zip(prompts, answers, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(read(tiny_base, prompts, answers, batch_tokens=1), alone, rtol=1e-4, atol=1e-4)


def test_states_are_pooled_over_the_answer_alone(tiny_base: Base) -> None:
    ids, start = encode_pair(tiny_base, QUESTION, "It left on Monday.", 256)
    states = tiny_base.model.base_model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    depths = [states[round(i * (len(states) - 1) / 3)][0, start:].float() for i in range(4)]
    parts = [part for layer in depths for part in (layer.mean(0), layer.max(0).values)]
    expected = torch.cat([*parts, states[-1][0, -1].float(), depths[0].sum(0) / 32])
    (features,), tokens = trunk_features(tiny_base, [QUESTION], ["It left on Monday."], context=256)
    assert len(features) == feature_width(tiny_base)
    torch.testing.assert_close(features[:-6], expected, rtol=1e-4, atol=1e-4)
    assert tokens.tolist() == [len(ids) - start]


def test_how_probable_the_trunk_finds_the_answer(tiny_base: Base) -> None:
    ids, start = encode_pair(tiny_base, QUESTION, "It left on Monday.", 256)
    logs = tiny_base.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)[start - 1 : -1]
    said = logs.gather(1, torch.tensor(ids[start:])[:, None])[:, 0]
    entropy = -(logs.exp() * logs).sum(1)
    lead = logs.max(1).values - said
    expected = [said.mean(), said.sum() / 32, said.min(), entropy.mean(), lead.mean(), lead.max()]
    (features,), _ = trunk_features(tiny_base, [QUESTION], ["It left on Monday."], context=256)
    torch.testing.assert_close(features[-6:], torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_no_answers_have_no_features(tiny_base: Base) -> None:
    features, tokens = trunk_features(tiny_base, [], [], context=256)
    assert features.shape == (0, feature_width(tiny_base))
    assert len(tokens) == 0


def test_long_prompts_and_answers_fit_the_context(tiny_base: Base) -> None:
    ids, start = encode_pair(tiny_base, LONG, "three sides " * 200, 64)
    assert len(ids) <= 64
    assert 0 < start < len(ids)
    assert ids[-1] == tiny_base.tokenizer.eos_token_id
    features, _ = trunk_features(tiny_base, [LONG], ["three sides " * 200], context=64)
    assert torch.isfinite(features).all()


def test_progress_ends_at_the_number_of_rows(tiny_base: Base) -> None:
    seen: list[int] = []
    trunk_features(tiny_base, [QUESTION] * 5, ["a"] * 5, context=64, batch_tokens=60, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 5
