"""Who is left out when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from reward.evidence import Evidence
from reward.folds import FOLDS, bootstrap, by_people, folds

COUNTS = {"pair": 60, "thumb": 30, "score": 20}


def masks(evidence: Evidence) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return folds(evidence, torch.Generator().manual_seed(0))


def test_every_rating_is_asked_of_one_fold_that_learned_nothing_from_its_person(judged: Any) -> None:
    evidence = judged(COUNTS).evidence
    learned, asked = masks(evidence)
    for kind, each in evidence.ratings.items():
        assert (asked[kind].sum(0) == 1).all()
        for fold in range(FOLDS):
            theirs = {int(p) for k, e in evidence.ratings.items() for p in e.person[learned[k][fold] > 0]}
            assert not theirs & {int(p) for p in each.person[asked[kind][fold] > 0]}


def test_nor_from_its_conversation(judged: Any) -> None:
    evidence = judged(COUNTS).evidence
    shared = {kind: replace(each, group=each.group % 25) for kind, each in evidence.ratings.items()}
    evidence = replace(evidence, ratings=shared, groups=25)
    learned, asked = masks(evidence)
    for fold in range(FOLDS):
        known = {int(g) for k, e in shared.items() for g in e.group[learned[k][fold] > 0]}
        assert not known & {int(g) for k, e in shared.items() for g in e.group[asked[k][fold] > 0]}


def test_one_person_who_is_most_of_it_is_not_left_out_whole(judged: Any) -> None:
    evidence = judged(COUNTS).evidence
    assert by_people(evidence)
    crowded = {
        k: replace(e, person=torch.where(torch.arange(len(e)) % 2 == 0, 0, e.person))
        for k, e in evidence.ratings.items()
    }
    evidence = replace(evidence, ratings=crowded)
    assert not by_people(evidence)
    learned, asked = masks(evidence)
    assert all(bool((learned["pair"][fold][crowded["pair"].person == 0] > 0).any()) for fold in range(FOLDS))
    assert (asked["pair"].sum(0) == 1).all()


def test_few_people_are_left_out_by_conversation(judged: Any) -> None:
    assert not by_people(judged(COUNTS, people=FOLDS - 1).evidence)


def test_a_bootstrap_weighs_conversations(judged: Any) -> None:
    evidence = judged({"pair": 400}).evidence
    pairs = replace(evidence.ratings["pair"], group=torch.arange(400) // 2)
    evidence = replace(evidence, ratings={**evidence.ratings, "pair": pairs}, groups=200)
    drawn = bootstrap(evidence, 3, torch.Generator().manual_seed(0))["pair"]
    assert torch.equal(drawn[:, 0::2], drawn[:, 1::2])
    torch.testing.assert_close(drawn.mean(1), torch.ones(3), atol=1e-5, rtol=0)
    assert (drawn.std(1) - 1).abs().max() < 0.3  # an exponential's deviation is its mean
    assert not torch.allclose(drawn[0], drawn[1])
