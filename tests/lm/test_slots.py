"""The running batch against the model on its own: what each row reads, draws, remembers and leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lm.engine import Engine
from lm.loading import Base
from lm.settings import EngineSettings, Sampling
from problems import Problem

from .conftest import GREEDY, PROMPTS, MakeAdapter, chi_square_bound, drain, greedy_alone

pytestmark = pytest.mark.usefixtures("widths")


def test_prompts_read_piece_by_piece(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=3, prefill=16))
    completions = engine.generate(PROMPTS, GREEDY)
    assert [c.token_ids for c in completions] == [greedy_alone(tiny_base.model, p, 12) for p in PROMPTS]


def test_rows_leave_while_others_have_not_been_read_yet(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=64, prefill=8))
    prompts = [[6 + k] * 4 for k in range(64)]
    first = Sampling(temperature=0, max_tokens=2, ignore_eos=True)  # over long before the last prompt's turn
    completions = engine.generate(prompts, [first, *[GREEDY] * 63])
    assert [c.token_ids for c in completions[1:]] == [greedy_alone(tiny_base.model, p, 12) for p in prompts[1:]]


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_log_probabilities_equal_a_forward(tiny_base: Base, engine: Engine, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, top_p=0.9, max_tokens=10, seed=5, ignore_eos=True)
    for prompt, completion in zip(PROMPTS, engine.generate(PROMPTS, sampling), strict=True):
        ids = torch.tensor([prompt + completion.token_ids])
        logits = tiny_base.model(ids).logits[0, len(prompt) - 1 : -1]
        drawn = torch.tensor(completion.token_ids)[:, None]
        own = logits.log_softmax(-1).gather(1, drawn)[:, 0]
        scaled = (logits / (temperature or 1.0)).log_softmax(-1).gather(1, drawn)[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), own, rtol=0, atol=1e-4)
        torch.testing.assert_close(torch.tensor(completion.sampling_logprobs), scaled, rtol=0, atol=1e-4)


def test_sampled_tokens_follow_the_models_probabilities(tiny_base: Base) -> None:
    engine, count = Engine(tiny_base, EngineSettings(slots=128)), 4000
    completions = engine.generate([PROMPTS[2]] * count, Sampling(temperature=1.0, max_tokens=1))
    expected = tiny_base.model(torch.tensor([PROMPTS[2]])).logits[0, -1].softmax(-1) * count
    counts = torch.tensor([c.token_ids[0] for c in completions]).bincount(minlength=len(expected))
    common = expected >= 5
    chi_square = ((counts - expected) ** 2 / expected)[common].sum()
    degrees = int(common.sum()) - 1
    assert degrees > 20
    assert chi_square < chi_square_bound(degrees)


def test_a_conversation_goes_on_where_it_was_read_before(tiny_base: Base, make_adapter: MakeAdapter) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=4))
    engine.install("1", make_adapter(seed=1))
    first = engine.submit(PROMPTS[3], GREEDY, person="ann")
    drain(engine)
    answered = PROMPTS[3] + first.completion.token_ids
    later = [*answered, 9, 8, 7]
    streams = [
        engine.submit(later, GREEDY, person="ann"),
        engine.submit(later, GREEDY, person="bob"),
        engine.submit(later, GREEDY, "1", person="ann"),
        engine.submit(PROMPTS[3][:30] + [4] * 20, GREEDY, person="ann"),
        engine.submit(PROMPTS[3], GREEDY, person="ann"),
    ]
    drain(engine)
    cached = [stream.completion.cached_tokens for stream in streams]
    assert cached == [len(answered) - 1, 0, 0, 30, len(PROMPTS[3]) - 1], "by version and by person; never all of it"
    fresh = Engine(tiny_base, EngineSettings(slots=4, prefix_cache=0))
    fresh.install("1", make_adapter(seed=1))
    for stream, prompt in zip(streams, (later, later, later, PROMPTS[3][:30] + [4] * 20, PROMPTS[3]), strict=True):
        again = fresh.generate([prompt], GREEDY, stream.version)[0]
        assert again.token_ids == stream.completion.token_ids
        assert again.logprobs == pytest.approx(stream.completion.logprobs, abs=1e-4)
    assert engine.figures().cached_tokens == sum(cached)
    assert fresh.figures().cached_tokens == 0


def test_what_a_removed_version_read_is_given_up(engine: Engine, make_adapter: MakeAdapter) -> None:
    engine.install("1", make_adapter(seed=1))
    engine.submit(PROMPTS[3], GREEDY, "1")
    drain(engine)
    held = engine.figures().cache_bytes
    engine.install("1", make_adapter(seed=2))
    stream = engine.submit(PROMPTS[3], GREEDY, "1")
    drain(engine)
    assert stream.completion.cached_tokens == 0
    engine.remove("1")
    engine.step()
    assert engine.figures().cache_bytes < held


def test_the_likeliest_tokens_are_told_to_whoever_asks(tiny_base: Base, engine: Engine) -> None:
    asked = engine.submit(PROMPTS[4], replace(GREEDY, top_logprobs=5))
    other = engine.submit(PROMPTS[5], GREEDY)
    pieces = []
    drain(engine)
    pieces = list(asked)
    done = asked.completion
    assert [likely for piece in pieces for likely in piece.top_logprobs] == done.top_logprobs
    logits = tiny_base.model(torch.tensor([PROMPTS[4] + done.token_ids])).logits[0, len(PROMPTS[4]) - 1 : -1]
    expected = logits.log_softmax(-1).topk(5)
    assert [[token for token, _ in likely] for likely in done.top_logprobs] == expected.indices.tolist()
    told = torch.tensor([[value for _, value in likely] for likely in done.top_logprobs])
    torch.testing.assert_close(told, expected.values, atol=1e-4, rtol=0)
    assert other.completion.top_logprobs == []


def test_a_repetition_penalty_counts_prompt_and_answer(tiny_base: Base, engine: Engine) -> None:
    penalty = 1.7
    rows = [replace(GREEDY, repetition_penalty=penalty), GREEDY, replace(GREEDY, repetition_penalty=penalty)]
    done = engine.generate(PROMPTS[3:6], rows)
    for prompt, sampling, completion in zip(PROMPTS[3:6], rows, done, strict=True):
        ids = list(prompt)
        for token in completion.token_ids:
            logits = tiny_base.model(torch.tensor([ids])).logits[0, -1]
            if sampling.repetition_penalty != 1:
                seen = torch.tensor(sorted(set(ids)))
                logits[seen] = torch.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
            assert token == int(logits.argmax())
            ids.append(token)
    assert done[0].token_ids != engine.generate(PROMPTS[3:4], GREEDY)[0].token_ids


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(top_p=0.9), Sampling(temperature=1.0)])
def test_nan_strikes_one_row_and_leaves_nothing_behind(
    tiny_base: Base, make_adapter: MakeAdapter, sampling: Sampling
) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=2))
    # Finite, so that it is admitted, yet it overflows as soon as it runs.
    engine.install("1", make_adapter(scale=1e25))
    bad, good = engine.submit(PROMPTS[5], sampling, "1"), engine.submit(PROMPTS[1], GREEDY)
    drain(engine)
    with pytest.raises(Problem, match="NaN"):
        _ = bad.completion
    expected = [greedy_alone(tiny_base.model, PROMPTS[index], 12) for index in (1, 2)]
    assert good.completion.token_ids == expected[0], "it moved into the slot that held NaN"
    assert [c.token_ids for c in engine.generate([PROMPTS[1], PROMPTS[2]], GREEDY)] == expected


def test_a_long_context_costs_no_memory_until_it_is_used(engine: Engine) -> None:
    engine.generate([PROMPTS[0]], GREEDY)
    small = engine._slots._cache.bytes
    engine.generate([PROMPTS[6]] * 4, GREEDY)
    assert engine._slots._cache.bytes == 8 * small
