"""The whole fit on ratings whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from problems import Problem
from reward.evidence import KINDS, Evidence, Ratings
from reward.fit import Fitted, fit_heads
from reward.settings import RewardSettings

SETTINGS = RewardSettings(context=64)


def fit(made: Any, **knobs: Any) -> Fitted:
    return fit_heads(made.features, made.tokens, made.evidence, replace(SETTINGS, **knobs))


def accuracy(made: Any, found: Fitted, n: int = 2000) -> float:
    fresh = torch.randn(n, made.features.shape[1], generator=torch.Generator().manual_seed(99))
    return float(made.accuracy(found.heads(fresh, torch.full((n,), 20.0), "drop").mean(0), fresh))


@pytest.mark.parametrize(
    ("kind", "least"), [("pair", 0.93), ("correction", 0.93), ("thumb", 0.85), ("score", 0.93), ("tags", 0.85)]
)
def test_each_kind_teaches_the_preference(judged: Any, kind: str, least: float) -> None:
    made = judged({kind: 300})
    assert accuracy(made, fit(made)) > least


def test_kinds_add_up(judged: Any) -> None:
    mixed, alone = judged({"pair": 30, "thumb": 30, "score": 30, "tags": 30}), judged({"pair": 30})
    assert accuracy(mixed, fit(mixed)) > accuracy(alone, fit(alone)) + 0.02


def test_people_have_thresholds_of_their_own(judged: Any) -> None:
    made = judged({"thumb": 600, "score": 300}, people=6)
    found = fit(made).likelihoods.threshold.mean(0)
    assert torch.corrcoef(torch.stack([found, made.strictness]))[0, 1] > 0.8


def test_slips_do_not_overturn_the_preference(judged: Any) -> None:
    made = judged({"pair": 400}, noise=0.2)
    assert accuracy(made, fit(made)) > 0.88


def test_bad_people_are_found_out_and_do_no_harm(judged: Any) -> None:
    made = judged({"pair": 800}, people=20, random=4, adversaries=3)
    defended, blind = fit(made), fit(made, weigh_raters=False)
    assert accuracy(made, defended) > accuracy(made, blind)
    assert accuracy(made, defended) > 0.94
    assert defended.people.eta[:7].max() < defended.people.eta[7:].min()
    assert defended.people.eta[4:7].max() < 0.35
    pushed = defended.together[4:7, 4:7][torch.triu_indices(3, 3, 1).unbind()]
    assert pushed.min() > 3


def test_the_same_seed_gives_the_same_heads_and_leaves_global_randomness_alone(judged: Any) -> None:
    made = judged({"pair": 60, "thumb": 20})
    state = torch.get_rng_state()
    one, two = fit(made), fit(made)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.heads.quality, two.heads.quality)
    assert one.calibration == two.calibration
    assert not torch.equal(one.heads.quality, fit(made, seed=1).heads.quality)


def test_heads_disagree_where_ratings_leave_room(judged: Any) -> None:
    few, many = judged({"pair": 60}), judged({"pair": 600})
    fresh = torch.randn(500, few.features.shape[1], generator=torch.Generator().manual_seed(5))
    tokens = torch.full((500,), 20.0)

    def disagreement(made: Any, features: torch.Tensor) -> float:
        rewards = fit(made).heads(features, tokens, "drop")
        return float(rewards.std(0).mean() / rewards.mean(0).std())

    assert disagreement(few, fresh) > 1.5 * disagreement(many, fresh)
    heads = fit(few).heads
    # What lies far from all that was rated is read at the rated range's ends, some 2.5 deviations out.
    assert heads(fresh * 6, tokens, "drop").std(0).mean() > 2 * heads(fresh, tokens, "drop").std(0).mean()


def test_a_length_that_people_like_best_is_paid_more_than_shorter_and_longer_ones() -> None:
    """Thumbs by people who like answers of 15 to 25 words; a tenth of them slips; features that say nothing."""
    generator = torch.Generator().manual_seed(7)
    n = 150
    tokens = torch.randint(6, 60, (n,), generator=generator)
    liked = ((tokens >= 15) & (tokens <= 25)) != (torch.rand(n, generator=generator) < 0.1)
    numbers, nobody = torch.arange(n), torch.zeros(0, dtype=torch.long)
    none = Ratings(nobody, nobody, torch.zeros(0), nobody, nobody, torch.zeros(0, dtype=torch.bool))
    thumbs = Ratings(numbers, numbers, liked.float(), numbers % 6, numbers, torch.ones(n, dtype=torch.bool))
    ratings = {kind: thumbs if kind == "thumb" else none for kind in KINDS}
    ratings["tags"] = replace(none, value=torch.zeros(0, 0))
    evidence = Evidence([[]] * n, [""] * n, ratings, [f"p{i}" for i in range(6)], [], n)
    features = torch.randn(n, 8, generator=generator)
    heads = fit_heads(features, tokens.float(), evidence, SETTINGS).heads

    at = [1, 6, 20, 59, 2000]
    each = heads(features.mean(0).expand(5, 8), torch.tensor(at).float(), "cost")
    paid = dict(zip(at, each.mean(0).tolist(), strict=True))
    assert paid[20] > paid[6] + 0.5
    assert paid[20] > paid[59] + 0.5
    assert paid[1] == pytest.approx(paid[6], abs=1e-5)
    assert paid[2000] == pytest.approx(paid[59], abs=1e-5)
    assert each.abs().max() < 10  # no head is read where nothing was rated
    assert each.std(0).max() < each.mean(0).std()  # and none has an offset of its own


def test_the_mean_head_does_not_depend_on_how_many_there_are(judged: Any) -> None:
    made = judged({"pair": 200})
    means = [fit(made, heads=heads).heads.quality.mean(0) for heads in (2, 8)]
    assert (means[0] - means[1]).norm() < 0.05 * means[1].norm()


def test_what_is_left_out_in_turn_is_judged_as_well_as_what_is_new(judged: Any) -> None:
    made = judged({"pair": 500}, noise=0.1)
    found = fit(made)
    crossfit = found.crossfit
    assert len(crossfit.difference) == len(crossfit.uniform) == 500
    assert 0.8 < float((crossfit.difference > 0).float().mean()) < 0.93  # a tenth of the verdicts are slips
    assert found.people.weights["pair"].mean() < 0.97


def test_too_few_ratings_are_refused_as_nothing_to_do(judged: Any) -> None:
    with pytest.raises(Problem, match="5 ratings") as caught:
        fit(judged({"pair": 3, "thumb": 2}))
    assert caught.value.status == 3


def test_progress_ends_at_the_end(judged: Any) -> None:
    made, told = judged({"pair": 40}), []
    fit_heads(made.features, made.tokens, made.evidence, SETTINGS, progress=lambda done, of: told.append((done, of)))
    assert told
    assert all(0 < done <= of for done, of in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
