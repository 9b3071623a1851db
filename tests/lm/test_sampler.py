"""Drawing tokens: right frequencies, exact cuts, and rows that do not disturb each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lm.sampler import SamplingPlan, draw, likeliest
from lm.settings import Sampling

from .conftest import chi_square_bound

CPU = torch.device("cpu")
ROWS = 20_000


def uniforms(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def random_logits(rows: int, vocabulary: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


def by_full_sort(logits: Tensor, sampling: Sampling) -> Tensor:
    """The distribution of one row, after the definitions: temperature, top-k, then top-p on what is left, min-p."""
    probabilities = (logits / sampling.temperature).double().softmax(-1)
    order = probabilities.argsort(descending=True)
    if sampling.top_k:
        probabilities[order[sampling.top_k :]] = 0
        probabilities /= probabilities.sum()
    before = probabilities[order].cumsum(-1) - probabilities[order]
    probabilities[order[before >= sampling.top_p]] = 0
    probabilities[probabilities < sampling.min_p * probabilities.max()] = 0
    return probabilities / probabilities.sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.7),
        Sampling(temperature=1.5, top_k=5),
        Sampling(temperature=1.0, top_p=0.6),
        Sampling(temperature=0.8, top_k=9, top_p=0.8),
        Sampling(temperature=1.0, min_p=0.1),
        Sampling(temperature=4.0, min_p=0.05),  # reaches past the likeliest few, too
        Sampling(temperature=1.2, top_k=30, top_p=0.9, min_p=0.05),
        Sampling(temperature=3.0, top_p=0.97),  # reaches past the likeliest few: the whole vocabulary is sorted
    ],
)
def test_frequencies(sampling: Sampling, seed: int) -> None:
    logits = random_logits(1, 200, seed)
    expected = by_full_sort(logits[0], sampling)
    plan = SamplingPlan([sampling] * ROWS, CPU)
    tokens, _, _ = draw(logits.expand(ROWS, -1), plan, uniforms(ROWS, seed + 1))
    counts = tokens.bincount(minlength=200).double()
    assert counts[expected == 0].sum() == 0, "only tokens that the cuts leave"
    common = expected * ROWS >= 5
    chi_square = ((counts - expected * ROWS) ** 2 / (expected * ROWS))[common].sum()
    degrees = int(common.sum()) - 1
    assert chi_square < chi_square_bound(degrees)


def test_a_broken_cut_would_show() -> None:
    logits = random_logits(1, 200)
    plan = SamplingPlan([Sampling(temperature=1.0, top_p=0.7)] * ROWS, CPU)
    tokens, _, _ = draw(logits.expand(ROWS, -1), plan, uniforms(ROWS))
    narrower = by_full_sort(logits[0], Sampling(temperature=1.0, top_p=0.6))
    assert tokens.bincount(minlength=200)[narrower == 0].sum() > 0


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = random_logits(8, 50)
    tokens, logprobs, sampling_logprobs = draw(logits, SamplingPlan([Sampling(temperature=0)] * 8, CPU), uniforms(8))
    assert tokens.tolist() == logits.argmax(-1).tolist()
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).amax(-1))
    torch.testing.assert_close(sampling_logprobs, logprobs)


def test_log_probabilities_before_and_after_temperature() -> None:
    logits = random_logits(6, 50)
    plan = SamplingPlan([Sampling(temperature=t, top_k=3) for t in (0.5, 1.0, 2.0) * 2], CPU)
    tokens, logprobs, sampling_logprobs = draw(logits, plan, uniforms(6))
    picked = tokens[:, None]
    temperature = torch.tensor([[0.5], [1.0], [2.0]] * 2)
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(1, picked)[:, 0])
    torch.testing.assert_close(sampling_logprobs, (logits / temperature).log_softmax(-1).gather(1, picked)[:, 0])


def test_a_row_draws_the_same_in_any_company() -> None:
    kinds = [
        Sampling(temperature=0),
        Sampling(temperature=1.2),
        Sampling(temperature=0.9, top_p=0.5),
        Sampling(temperature=1.1, top_k=100),
        Sampling(temperature=2.0, top_p=0.99),
    ] * 5
    logits, numbers = random_logits(len(kinds), 300), uniforms(len(kinds))
    together, _, _ = draw(logits, SamplingPlan(kinds, CPU), numbers)
    for row, kind in enumerate(kinds):
        alone, _, _ = draw(logits[row : row + 1], SamplingPlan([kind], CPU), numbers[row : row + 1])
        assert alone[0] == together[row], kind


def test_the_largest_uniform_number_still_draws_a_possible_token() -> None:
    logits = torch.tensor([[5.0, 4.0, -torch.inf, -torch.inf]])
    almost_one = torch.tensor([1.0])
    for sampling in (Sampling(temperature=1.0), Sampling(temperature=1.0, top_p=0.999)):
        tokens, _, _ = draw(logits, SamplingPlan([sampling], CPU), almost_one)
        assert tokens.item() == 1


def test_top_k_beyond_the_vocabulary() -> None:
    tokens, _, _ = draw(random_logits(1, 4), SamplingPlan([Sampling(top_k=10)], CPU), uniforms(1))
    assert 0 <= tokens.item() < 4


def test_a_repetition_penalty_in_mixed_company() -> None:
    logits = random_logits(3, 40)
    said = [[1, 2, 3], [5], [7, 8]]
    rows = [
        Sampling(temperature=0.5, repetition_penalty=1.5),
        Sampling(temperature=0.5),
        Sampling(temperature=0, repetition_penalty=4.0),
    ]
    plan = SamplingPlan(rows, CPU, said=lambda row: said[row], vocabulary=40)
    tokens, logprobs, sampling_logprobs = draw(logits, plan, uniforms(3))
    for row, sampling in enumerate(rows):
        changed = logits[row].clone()
        if sampling.repetition_penalty != 1:
            for token in said[row]:
                by = sampling.repetition_penalty
                changed[token] = changed[token] / by if changed[token] > 0 else changed[token] * by
        warm = (changed / (sampling.temperature or 1.0)).log_softmax(-1)
        torch.testing.assert_close(sampling_logprobs[row], warm[tokens[row]])
        torch.testing.assert_close(logprobs[row], logits[row].log_softmax(-1)[tokens[row]], msg="the model's own")
    assert plan.said[0, tokens[0]]
    assert plan.said[1, tokens[2]], "what is drawn counts from now on"


def test_the_likeliest() -> None:
    logits = random_logits(2, 30)
    tokens, logprobs = likeliest(logits, 4)
    expected = logits.log_softmax(-1).topk(4)
    assert tokens.tolist() == expected.indices.tolist()
    torch.testing.assert_close(logprobs, expected.values)
    assert likeliest(logits, 99)[0].shape == (2, 30)
