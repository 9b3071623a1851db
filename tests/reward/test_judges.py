"""What an operator reads of the people who rate."""

from __future__ import annotations

from typing import Any

import torch

from reward.judges import habits, judges
from reward.raters import Reliability
from store.raters import Rater, Share


def known(judged: Any, **changes: torch.Tensor) -> tuple[Reliability, Any]:
    """Ten people of twenty ratings or so, nobody doubted but by the changes."""
    evidence = judged({"pair": 200}).evidence
    facts = {
        "eta": torch.linspace(0.9, 0.99, 10),
        "ratings": torch.full((10,), 20.0),
        "random": torch.full((10,), -5.0),
        "against": torch.full((10,), -5.0),
    }
    return Reliability(**{**facts, **changes}, weights={"pair": torch.ones(200)} | empty(evidence)), evidence


def empty(evidence: Any) -> dict[str, torch.Tensor]:
    return {kind: torch.ones(0) for kind in evidence.ratings if kind != "pair"}


def at(**values: float) -> torch.Tensor:
    made = torch.full((10,), -5.0)
    for name, value in values.items():
        made[int(name[1:])] = value
    return made


def test_everybody_is_there_the_least_believed_first(judged: Any) -> None:
    people, evidence = known(judged)
    found = judges(people, torch.zeros(10, 10), evidence)
    assert [each.person for each in found] == [f"p{i}" for i in range(10)]
    assert sum(each.ratings for each in found) == 200
    assert abs(sum(each.share for each in found) - 1) < 1e-6
    assert all(each.weight == 1 and not each.suspicions and each.group is None for each in found)


def test_chance_and_malice_are_named_apart(judged: Any) -> None:
    people, evidence = known(judged, random=at(p3=20.0, p7=20.0), against=at(p7=9.0))
    found = {each.person: each.suspicions for each in judges(people, torch.zeros(10, 10), evidence)}
    assert found["p3"] == ["answers no better than by chance would be"]
    assert found["p7"] == ["says the opposite of what the others say"]
    assert not any(said for name, said in found.items() if name not in ("p3", "p7"))


def test_a_little_doubt_or_a_few_ratings_are_not_enough(judged: Any) -> None:
    people, evidence = known(judged, random=at(p3=5.0))  # one of ten people looks like that by luck
    assert not any(each.suspicions for each in judges(people, torch.zeros(10, 10), evidence))
    few = torch.full((10,), 20.0)
    few[3] = 5
    people, evidence = known(judged, random=at(p3=50.0), ratings=few)
    assert not any(each.suspicions for each in judges(people, torch.zeros(10, 10), evidence))


def test_doubted_people_who_pull_together_are_a_group(judged: Any) -> None:
    people, evidence = known(judged, random=at(p1=20.0, p2=20.0, p3=20.0, p5=20.0))
    together = torch.zeros(10, 10)
    for one, other in ((1, 2), (2, 3), (8, 9)):
        together[one, other] = together[other, one] = 6.0
    found = {each.person: each for each in judges(people, together, evidence)}
    assert {found[name].group for name in ("p1", "p2", "p3")} == {1}
    assert found["p5"].group is None
    assert found["p8"].group is None  # alike, but nobody doubts them
    assert "pulls the same way as p2, p3, against the others" in found["p1"].suspicions


def rater(**given: Any) -> Rater:
    facts = {"liked": Share(0, 0), "left": Share(10, 20), "steady": Share(9, 10), "agreement": Share(0, 0)}
    return Rater(**({"person": "ann", "ratings": {}, "fastest": 5} | facts | given))


def test_habits() -> None:
    assert habits(rater()) == []
    assert habits(rater(left=Share(0, 0), steady=Share(0, 0))) == []
    assert habits(rater(fastest=45)) == ["gave 45 ratings within a minute"]
    assert habits(rater(left=Share(29, 30))) == ["chose the left answer 29 times of 30"]
    assert habits(rater(left=Share(1, 30))) == ["chose the left answer 1 times of 30"]
    assert habits(rater(left=Share(4, 4))) == []
    assert habits(rater(steady=Share(3, 12))) == ["said the same again of the same answers only 3 times of 12"]
