from __future__ import annotations

from lm.evaluation import report
from lm.starter.card import OUTSIDE, education_kinds
from lm.starter.smalltalk import OPENINGS, SUBJECTS
from lm.suites import load_suite


def test_education_is_reported_by_what_it_asks() -> None:
    items = load_suite("skills", 300, 0)
    answers = [item.references[0] if "capital" in item.messages[-1]["content"] else "?" for item in items]
    kinds = education_kinds(items, report(items, answers))
    assert kinds.pop("capitals") == 1.0
    assert set(kinds) == {
        "addition",
        "explanations",
        "larger of two",
        "multiplication",
        "opposites",
        "spelling",
        "subtraction",
        "units",
    }
    assert set(kinds.values()) == {0.0}


def test_the_hand_written_texts_are_not_among_the_generated_ones() -> None:
    made = {opening.format(x=x, y="").strip(" ?.").lower() for opening in OPENINGS for x in SUBJECTS}
    assert not {text.strip(" ?.").lower() for text in OUTSIDE} & made
