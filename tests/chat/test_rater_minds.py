"""What simulated people say of an answer, kind by kind, and what sets one person apart from another."""

from __future__ import annotations

import random
from collections import Counter
from statistics import mean, stdev

import pytest

from chat.personas import CLOSE, PERSONAS
from chat.rater_minds import KINDS, Rater, opinion, recruit
from lm.starter.skills import questions
from lm.starter.styles import has_closing, has_emoji, has_opener, is_list
from lm.suites import Item, correct
from problems import Problem
from reward.tags import BAD, GOOD
from store.ratings import PAIR_VALUES, check_value

ASK = [{"role": "user", "content": "When does order 1234 arrive?"}]
ITEM = Item("service", ASK, ["Friday"], "contains", "Friday.")
SHORT, WRONG = "Friday.", "Monday."
POLITE = "Of course! Your order number 1234 arrives on Friday. Is there anything else I can help with?"
TERSE = Rater("t", PERSONAS["terse"])
COURTEOUS = Rater("c", PERSONAS["courteous"])


def says(
    person: Rater, kind: str, *answers: str, item: Item | None = ITEM, seed: int = 0, erring: bool = False
) -> object:
    return opinion(person, kind, item, answers, random.Random(seed), erring)


def test_every_opinion_is_one_that_the_store_takes() -> None:
    for persona in PERSONAS.values():
        for person in recruit(persona, 1, 6, 0.2, 0.2, 0.2):
            for item in questions("train", 3, 12):
                for kind in KINDS:
                    for erring in (False, True):
                        value = says(person, kind, item.answer, f"Sure. {item.answer}", item=item, erring=erring)
                        if value is not None:
                            check_value(kind, value)
                        assert value is not None or kind == "correction"


def test_a_pair_and_a_thumb_follow_the_preference_and_an_error_turns_them_round() -> None:
    assert says(TERSE, "pair", SHORT, POLITE) == "left"
    assert says(TERSE, "pair", SHORT, POLITE, erring=True) == "right"
    assert says(TERSE, "pair", SHORT, SHORT, erring=True) == "tie"
    assert says(TERSE, "pair", POLITE, POLITE) == "both_bad"
    assert (says(TERSE, "thumb", SHORT), says(TERSE, "thumb", POLITE)) == (1, -1)
    assert says(TERSE, "thumb", SHORT, erring=True) == -1


def test_scores_rise_with_liking_and_differ_between_strict_and_lenient_people() -> None:
    strict, lenient = (Rater("x", PERSONAS["terse"], offset=offset) for offset in (-2.0, 2.0))
    for person in (strict, lenient):
        scores = [says(person, "score", answer) for answer in ("", WRONG, POLITE, SHORT)]
        assert scores[3] == max(scores)  # type: ignore[type-var]
        assert scores[0] == 1
    assert says(lenient, "score", POLITE) == says(strict, "score", POLITE) + 4  # type: ignore[operator]
    wide, flat = (Rater("x", PERSONAS["terse"], spread=spread) for spread in (5.0, 1.0))
    assert says(wide, "score", SHORT) > says(flat, "score", SHORT)  # type: ignore[operator]
    assert says(wide, "score", POLITE) < says(flat, "score", POLITE)  # type: ignore[operator]


def test_an_erring_score_is_any() -> None:
    drawn = [opinion(TERSE, "score", ITEM, [SHORT], random.Random(seed), True) for seed in range(300)]
    assert set(drawn) == set(range(1, 11))
    assert max(Counter(drawn).values()) < 60


@pytest.mark.parametrize(
    ("person", "answer", "tags"),
    [
        (TERSE, SHORT, ["Correct", "Right length"]),
        (TERSE, POLITE, ["Too long"]),
        (TERSE, WRONG, ["Wrong"]),
        (TERSE, POLITE.replace("Friday", "Monday"), ["Too long", "Wrong"]),
        (TERSE, " ", ["Too short"]),
        (COURTEOUS, POLITE, ["Correct", "Good tone"]),
        (COURTEOUS, WRONG, ["Bad tone", "Wrong"]),
        (COURTEOUS, SHORT, ["Bad tone"]),
    ],
)
def test_tags_name_what_the_person_sees(person: Rater, answer: str, tags: list[str]) -> None:
    assert says(person, "tags", answer) == tags


def test_tags_without_references_are_about_style_alone() -> None:
    assert says(TERSE, "tags", WRONG, item=None) == ["Right length"]
    assert all(persona.praise in GOOD and persona.blame in BAD for persona in PERSONAS.values())


def test_a_correction_is_right_and_better_liked_than_the_answer() -> None:
    looks = {
        "terse": lambda text: len(text.split()) < 20,
        "courteous": lambda text: has_opener(text) and has_closing(text),
        "lively": has_emoji,
        "orderly": is_list,
    }
    for name, persona in PERSONAS.items():
        for item in questions("train", 1, 24):
            written = says(Rater("x", persona), "correction", "Nobody knows, and I would rather not say.", item=item)
            assert isinstance(written, str)
            assert correct(item, written), written
            assert looks[name](written), written


def test_a_correction_keeps_the_answers_own_words_where_they_are_right() -> None:
    said = "Your order number 1234 arrives on Friday."
    assert any(said in str(says(COURTEOUS, "correction", said, seed=seed)) for seed in range(20))
    listed = "- Order: 1234\n- Arrives: Friday"
    orderly = Rater("o", PERSONAS["orderly"])
    written = str(says(orderly, "correction", listed))
    assert listed in written
    assert written != listed


def test_no_correction_without_references_or_of_an_answer_that_is_as_good() -> None:
    assert says(TERSE, "correction", POLITE, item=None) is None
    assert says(TERSE, "correction", SHORT) is None
    assert says(COURTEOUS, "correction", POLITE) is None
    better = says(TERSE, "correction", POLITE)
    persona = PERSONAS["terse"]
    assert persona.score(ITEM, str(better)) > persona.score(ITEM, POLITE) + CLOSE


def test_adversaries_agree_with_each_other_against_the_preference() -> None:
    people = recruit(PERSONAS["terse"], 0, 10, 0.3, adversary_share=0.3)
    hostile = [person for person in people if person.character == "adversary"]
    assert len(hostile) == 3
    assert says(hostile[0], "pair", SHORT, POLITE) == "right"
    assert says(hostile[0], "pair", SHORT, SHORT) == "both_bad"
    assert says(hostile[0], "thumb", SHORT) == -1
    assert says(hostile[0], "score", SHORT) < says(hostile[0], "score", POLITE)  # type: ignore[operator]
    assert says(hostile[0], "tags", SHORT) == ["Too long", "Wrong"]
    assert says(hostile[0], "tags", WRONG) == ["Correct"]
    worse = str(says(hostile[0], "correction", SHORT))
    assert PERSONAS["terse"].score(ITEM, worse) < PERSONAS["terse"].score(ITEM, SHORT)
    for kind in ("pair", "thumb", "score", "tags"):
        for erring in (False, True):
            assert len({str(says(person, kind, SHORT, POLITE, erring=erring)) for person in hostile}) == 1


def test_people_at_random_say_anything() -> None:
    person = Rater("r", PERSONAS["terse"], "random")
    for kind, every in (("pair", set(PAIR_VALUES)), ("thumb", {1, -1}), ("score", set(range(1, 11)))):
        assert {says(person, kind, SHORT, POLITE, seed=seed) for seed in range(200)} == every
    assert {str(says(person, "tags", SHORT, seed=seed)) for seed in range(400)} == {str([tag]) for tag in GOOD + BAD}
    assert len({says(person, "correction", SHORT, seed=seed) for seed in range(50)}) > 10


def test_people_are_the_same_for_a_seed_and_each_has_their_own_scale() -> None:
    people = recruit(PERSONAS["lively"], 4, 200)
    assert people == recruit(PERSONAS["lively"], 4, 200)
    assert people != recruit(PERSONAS["lively"], 5, 200)
    assert [person.name for person in people[:2]] == ["lively-1", "lively-2"]
    offsets = [person.offset for person in people]
    assert abs(mean(offsets)) < 0.3
    assert 0.9 < stdev(offsets) < 1.5
    assert len({person.spread for person in people}) == 200
    assert {person.persona for person in people} == {PERSONAS["lively"]}


def test_thresholds_of_content_differ_only_if_asked_for() -> None:
    own = [person.persona.content for person in recruit(PERSONAS["terse"], 0, 200, threshold_spread=0.2)]
    assert abs(mean(own) - PERSONAS["terse"].content) < 0.05
    assert 0.15 < stdev(own) < 0.25
    middling = "Your order arrives on Friday morning."
    thumbs = {says(person, "thumb", middling) for person in recruit(PERSONAS["terse"], 0, 50, threshold_spread=0.3)}
    assert thumbs == {1, -1}


def test_shares_of_bad_people() -> None:
    people = recruit(PERSONAS["terse"], 0, 20, random_share=0.1, adversary_share=0.25)
    assert Counter(person.character for person in people) == {"honest": 13, "random": 2, "adversary": 5}
    assert Counter(p.character for p in recruit(PERSONAS["terse"], 0, 8, random_share=0.01))["random"] == 1
    with pytest.raises(Problem, match="more than the 4 people"):
        recruit(PERSONAS["terse"], 0, 4, random_share=0.6, adversary_share=0.8)
    for bad in ({"random_share": -0.1}, {"adversary_share": 1.1}, {"threshold_spread": -1.0}):
        with pytest.raises(Problem, match="between 0 and 1"):
            recruit(PERSONAS["terse"], 0, 4, **bad)


def test_an_unknown_kind_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'star'"):
        says(TERSE, "star", SHORT)
