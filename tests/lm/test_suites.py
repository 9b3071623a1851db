from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from lm.suites import Item, correct, load_suite, read_suite, score, write_suite
from problems import Problem

ASK = [{"role": "user", "content": "?"}]
GOOD = '{"skill": "a", "messages": [{"role": "user", "content": "hi"}], "references": ["yes"], "metric": "exact"}'


def item(metric: str, *references: str) -> Item:
    return Item("a", ASK, list(references), metric)


@pytest.mark.parametrize(
    ("metric", "reference", "answer", "right"),
    [
        ("exact", "Friday", " friday. ", True),
        ("exact", "Friday", "On Friday", False),
        ("contains", "Friday", "It arrives on friday!", True),
        ("contains", "7 days", "within 17 days", False),
        ("contains", "blue lamp", "blue lamps", False),
        ("contains", "don't know", "Sorry, I don't know.", True),
        ("contains", "12", "- Order: 412\n- Price: 12 euros", True),
        ("contains", "12", "412, 120", False),
        ("contains", "书", "两本书。", True),
        ("numeric", "42", "The answer is 42.", True),
        ("numeric", "42", "40 + 2 = 42", True),
        ("numeric", "42", "42 - 2 = 40", False),
        ("numeric", "42", "forty-two", False),
        ("numeric", "1000", "1,000 metres", True),
        ("numeric", "-3", "It is -3.", True),
        ("numeric", "-4", "x = −4", True),
        ("numeric", "4", "x = −4", False),
        ("numeric", "3.5", "３．５", True),
        ("numeric", "-5", "It takes 3-5 days.", False),
        ("numeric", "5", "It takes 3–5 days.", True),
        ("numeric", "1000", "It is 1.000", False),
        ("numeric", "25", "The area is 25 cm2.", True),
        ("numeric", "9007199254740993", "9007199254740992", False),
        ("exact", "-4", "−4.", True),
        ("exact", ".5", "5", False),
        ("exact", "don't know", "Don’t know.", True),
        ("contains", "4", "x = -4", False),
        ("contains", "4", "x = −4", False),
        ("contains", "-4", "x = −4", True),
        ("contains", "-4", "10-4", False),
        ("contains", "3-5 days", "in 3–5 days", True),
        ("contains", "12", "It costs 12.50.", False),
        ("contains", "50", "It costs 12.50.", False),
        ("contains", "1", "1,000 metres", False),
        ("contains", "000", "1,000 metres", False),
        ("contains", "13", "12,13", True),
        ("contains", "5", "It is .5", False),
        ("contains", "5", "See no.5.", True),
        ("contains", "12", "- 12 euros", True),
        ("contains", "12", "Lamp-12", True),
        ("contains", "12", "It is ١٢.", True),
        ("bleu", "我有两本书。", "In Chinese: 我有两本书。 🙂", True),
        ("bleu", "我有两本书。", "我有三本书。", False),
        ("rouge", "Ana moved to Rome.", "Summary: Ana moved to Rome. I hope this helps!", True),
        ("rouge", "Ana moved to Rome.", "Ana moved from Rome.", False),
    ],
)
def test_right_and_wrong(metric: str, reference: str, answer: str, right: bool) -> None:
    assert correct(item(metric, reference), answer) is right


def test_the_cases_of_minus_and_width(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(shared / "cases" / "numeric_minus.py"))
    assert re.findall(r"(True|False) right: (True|False)", capsys.readouterr().out) == [
        ("True", "True"),
        ("False", "False"),
        ("True", "True"),
    ]


def test_any_reference_will_do() -> None:
    assert correct(item("contains", "don't know", "do not know"), "I do not know.")


def test_scores() -> None:
    assert score(item("contains", "x"), "an x") == 1.0
    assert score(item("exact", "x"), "an x") == 0.0
    assert score(item("bleu", "我有两本红色的书。"), "Of course! 我有两本红色的书。") == pytest.approx(1.0)
    assert 0.2 < score(item("bleu", "我有两本红色的书。"), "我有三本红色的书。") < 0.9
    assert score(item("rouge", "Ana moved to Rome."), "Certainly. In short: Ana moved to Rome.") == pytest.approx(1.0)
    assert score(item("rouge", "a b c d"), "a b") == pytest.approx(2 / 3)
    assert score(item("rouge", "我有书"), "我有") == pytest.approx(0.8)
    assert score(item("rouge", "a"), "") == 0.0


def test_a_suite_survives_its_file(tmp_path: Path) -> None:
    items = [item("contains", "书", "book"), item("numeric", "3")]
    write_suite(tmp_path / "s.jsonl", items)
    assert read_suite(tmp_path / "s.jsonl") == items


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (GOOD.replace('"skill"', '"skil"'), "unknown key 'skil'"),
        (GOOD.replace('"exact"', '"best"'), "metric 'best'"),
        (GOOD.replace('["yes"]', "[]"), "references"),
        (GOOD.replace('["yes"]', '[" "]'), "references"),
        (GOOD.replace('"user"', '"assistant"'), "must be the user's"),
        (GOOD.replace('"user"', '"robot"'), "role"),
        (GOOD.replace('"exact"', '"numeric"'), "needs a number"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "s.jsonl").write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(Problem, match="line 3") as caught:
        read_suite(tmp_path / "s.jsonl")
    assert what in str(caught.value)


def test_missing_empty_and_binary_files_are_problems(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "empty", "binary"):
        with pytest.raises(Problem, match=name):
            load_suite(str(tmp_path / name), 5, 0)


def test_skills_is_generated_and_a_file_is_sampled(tmp_path: Path) -> None:
    skills = load_suite("skills", 5, 0)
    assert len(skills) == 20
    assert skills == load_suite("skills", 5, 0) != load_suite("skills", 5, 1)
    items = [Item("ab"[k % 2], [{"role": "user", "content": str(k)}], ["x"], "exact") for k in range(30)]
    write_suite(tmp_path / "s", items)
    sampled = load_suite(str(tmp_path / "s"), 4, 0)
    assert [each.skill for each in sampled] == ["a"] * 4 + ["b"] * 4
    assert len(load_suite(str(tmp_path / "s"), 99, 0)) == 30


def test_validation_and_test_split_a_suite_between_them_for_ever(tmp_path: Path) -> None:
    parts = [load_suite("skills", 40, 0, split) for split in ("validation", "test")]
    asked = [{str(item.messages) for item in part} for part in parts]
    assert [len(part) for part in parts] == [160, 160]
    assert not asked[0] & asked[1]
    assert not {str(item.messages) for item in load_suite("skills", 40, 1, "validation")} & asked[1]

    items = [Item("ab"[k % 2], [{"role": "user", "content": str(k)}], ["x"], "exact") for k in range(30)]
    few = [Item("few", [{"role": "user", "content": f"few {k}"}], ["x"], "exact") for k in range(3)]
    write_suite(tmp_path / "s", [*items, *few])
    validation, test = (load_suite(str(tmp_path / "s"), 99, 0, split) for split in ("validation", "test"))
    assert [item.skill for item in validation] == ["a"] * 3 + ["b"] * 3
    assert sorted(map(str, [*validation, *test])) == sorted(map(str, [*items, *few]))


def test_a_whole_answer_may_be_given_for_its_perplexity(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(GOOD + "\n" + GOOD[:-1] + ', "answer": "Yes, gladly."}\n')
    assert [item.answer for item in read_suite(path)] == ["", "Yes, gladly."]
    write_suite(tmp_path / "again.jsonl", read_suite(path))
    assert read_suite(tmp_path / "again.jsonl") == read_suite(path)
    path.write_text(GOOD[:-1] + ', "answer": 3}\n')
    with pytest.raises(Problem, match="line 1: answer must be text"):
        read_suite(path)


def test_conduct_is_a_suite_by_name() -> None:
    items = load_suite("conduct", 5, 0)
    assert [item.skill for item in items[::5]] == ["outside", "beyond", "foreign", "unsafe"]
    assert len(items) == 20
