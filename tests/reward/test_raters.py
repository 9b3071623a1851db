"""Reliability of people, and who pulls together."""

from __future__ import annotations

from typing import Any

import torch

from reward.evidence import Evidence
from reward.raters import pulls_together, reliability


def losses(evidence: Evidence, right: torch.Tensor, sure: float = 0.9) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of pairs, as a model says that gives the truth a chance of `sure`; `right` [N] says who told it."""
    chance = torch.where(right, sure, 1 - sure)
    return {"pair": -chance.log(), "tags": torch.zeros(0)}, {"pair": -(1 - chance).log()}


def crowd(judged: Any, n: int = 600) -> tuple[Evidence, torch.Tensor]:
    """Twelve people: the first two answer by chance, the third says the opposite, the others err once in ten."""
    evidence = judged({"pair": n}, people=12).evidence
    generator = torch.Generator().manual_seed(4)
    person, drawn = evidence.ratings["pair"].person, torch.rand(n, generator=generator)
    share = torch.where(person < 2, 0.5, torch.where(person == 2, 0.05, 0.9))
    return evidence, drawn < share


def test_eta_is_how_often_a_person_meant_what_they_said(judged: Any) -> None:
    evidence, right = crowd(judged, 3000)
    found = reliability(*losses(evidence, right, 0.99), evidence)
    assert (found.eta[3:] - 0.9).abs().max() < 0.06
    assert (found.eta[:2] - 0.5).abs().max() < 0.1
    assert found.eta[2] < 0.15
    assert int(found.ratings.sum()) == 3000


def test_chance_and_malice_weigh_nothing_and_slips_little(judged: Any) -> None:
    evidence, right = crowd(judged)
    found = reliability(*losses(evidence, right), evidence)
    person = evidence.ratings["pair"].person
    weight = found.weights["pair"]
    assert weight[person == 2].max() == 0
    assert weight[person < 2].mean() < 0.25
    honest = person > 2
    assert weight[honest & right].mean() > 0.8
    assert weight[honest & ~right].mean() < 0.7 * weight[honest & right].mean()
    assert 0 <= weight.min() <= weight.max() <= 1


def test_who_is_random_and_who_is_against(judged: Any) -> None:
    evidence, right = crowd(judged)
    found = reliability(*losses(evidence, right), evidence)
    assert (found.random[:3] > 3).all()
    assert (found.random[3:] < 0).all()
    assert found.against[2] > 3
    assert (found.against[:2] < 3).all()


def test_few_ratings_leave_a_person_believed(judged: Any) -> None:
    evidence = judged({"pair": 3}, people=3).evidence
    found = reliability(*losses(evidence, torch.tensor([True, False, True])), evidence)
    assert found.eta.min() > 0.7


def test_kinds_without_a_contrary_keep_their_persons_weight(judged: Any) -> None:
    evidence = judged({"pair": 400, "tags": 100}, people=4).evidence
    person = evidence.ratings["pair"].person
    said, contrary = losses(evidence, person > 0)
    found = reliability({**said, "tags": torch.ones(100)}, contrary, evidence)
    tags = evidence.ratings["tags"].person
    assert found.weights["tags"][tags == 0].max() == 0
    assert found.weights["tags"][tags > 0].min() > 0.95


def test_pulls_of_strangers_agree_as_chance_would_have_it(judged: Any) -> None:
    made = judged({"pair": 1500}, people=30)
    slopes = {"pair": torch.randn(1500, generator=torch.Generator().manual_seed(0))}
    found = pulls_together(slopes, made.features, made.evidence)
    above = found[torch.triu_indices(30, 30, 1).unbind()]
    assert abs(float(above.mean())) < 0.15
    assert 0.8 < float(above.std()) < 1.2
    torch.testing.assert_close(found, found.T)


def test_people_with_one_aim_pull_together(judged: Any) -> None:
    made = judged({"pair": 600}, people=20)
    pairs = made.evidence.ratings["pair"]
    aim = made.features[pairs.first, 0] - made.features[pairs.second, 0]
    noise = torch.randn(600, generator=torch.Generator().manual_seed(0))
    slope = torch.where(pairs.person < 2, aim, noise)
    found = pulls_together({"pair": slope}, made.features, made.evidence)
    assert found[0, 1] > 4
    assert found[0, 2:].max() < 4


def test_evidence_without_pulls(judged: Any) -> None:
    made = judged({"tags": 20}, people=3)
    assert pulls_together({}, made.features, made.evidence).tolist() == [[0.0] * 3] * 3
