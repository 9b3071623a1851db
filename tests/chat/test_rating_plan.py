"""Who asks what and rates how: the same for the same seed, in the shares that were asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from chat.personas import PERSONAS
from chat.rater_minds import KINDS, recruit
from chat.rating_plan import DEFAULT_KINDS, check_kinds, plan, read_kinds
from lm.starter.skills import questions
from problems import Problem

TERSE = PERSONAS["terse"]


def test_a_plan_repeats_with_its_seed() -> None:
    people = recruit(TERSE, 3, 8)
    first = plan(TERSE, 20, 0.1, 3, people, DEFAULT_KINDS)
    assert first == plan(TERSE, 20, 0.1, 3, people, DEFAULT_KINDS)
    assert first != plan(TERSE, 20, 0.1, 4, people, DEFAULT_KINDS)
    assert len({task.seed for task in first}) == 20
    assert [task.item for task in first] == questions("train", 3, 20)


def test_published_figures_rest_on_this_plan() -> None:
    tasks = plan(TERSE, 8, 0.3, 3, recruit(TERSE, 3, 8), DEFAULT_KINDS)
    assert [task.person.name for task in tasks] == [f"terse-{k}" for k in (7, 7, 7, 2, 5, 2, 7, 3)]
    assert [task.kind for task in tasks] == ["pair", "thumb", "thumb", "pair", "pair", "pair", "pair", "pair"]
    assert [task.flipped for task in tasks] == [False, True, False, True, False, False, True, False]
    assert [task.seed for task in tasks] == [756568797289 + 2 * k for k in range(8)]


def test_kinds_come_in_their_shares() -> None:
    shares = {"pair": 0.4, "thumb": 0.3, "score": 0.2, "correction": 0.1}
    drawn = Counter(task.kind for task in plan(TERSE, 600, 0.0, 1, recruit(TERSE, 1, 8), shares))
    assert set(drawn) == set(shares)
    for kind, share in shares.items():
        assert abs(drawn[kind] / 600 - share) < 0.06
    assert {t.kind for t in plan(TERSE, 30, 0.0, 0, recruit(TERSE, 0, 8), {"tags": 1.0, "pair": 0.0})} == {"tags"}


def test_kinds_are_read_as_they_are_written() -> None:
    assert read_kinds("pair=0.7,thumb=0.3") == DEFAULT_KINDS
    assert read_kinds(" score = 1 ") == {"score": 1.0}
    assert read_kinds(",".join(f"{kind}=0.2" for kind in KINDS)) == dict.fromkeys(KINDS, 0.2)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "'' is not a kind", "pair=0.7,thumb=0.3"),
        ("pair", "'pair' is not a kind with its share", "pair=0.7"),
        ("pair=most", "'pair=most' is not a kind", "pair=0.7"),
        ("pair=nan", "'pair=nan' is not a kind", "pair=0.7"),
        ("pair=0.5,pair=0.5", "'pair' is named twice", "pair=0.7"),
        ("paar=1", "no kind of rating 'paar'", "Did you mean pair?"),
        ("emotions=1", "no kind of rating 'emotions'", "The kinds are pair, thumb, score, tags, correction."),
        ("pair=1.5,thumb=-0.5", "share of pair cannot be 1.5", "add up to 1"),
        ("pair=0.7,thumb=0.2", "add up to 0.9, not to 1", "add up to 1"),
    ],
)
def test_kinds_that_cannot_be_are_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(Problem, match=message) as caught:
        read_kinds(text)
    assert hint in caught.value.hint
    assert caught.value.status == 2


def test_no_kinds_at_all_are_refused() -> None:
    with pytest.raises(Problem, match="add up to 0"):
        check_kinds({})
