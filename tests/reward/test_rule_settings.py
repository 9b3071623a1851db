"""Rules as a file, the environment or a kept model gives them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from problems import Problem
from reward.rule_settings import KINDS, LengthRule, SafetyRule, read_rules
from reward.settings import RewardSettings
from rl.settings import AnchorSettings, GateSettings, PPOSettings, UpdateSettings
from rl.update import Knobs
from settings import load_settings

TABLES: list[dict[str, Any]] = [
    {"kind": "length", "minimum": 5, "maximum": 80},
    {"kind": "banned", "pattern": "(?i)as an ai", "name": "no-ai", "weight": 1.0},
    {"kind": "safety", "words": ["rat poison"], "when": "clean"},
]


def test_the_page_on_rules_shows_a_file_that_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/rules.md").read_text(encoding="utf-8")
    (tmp_path / "ratchet.toml").write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    (tmp_path / "words.txt").write_text("rat poison # not at home\n", encoding="utf-8")
    found = load_settings(tmp_path, {"RATCHET_HOME": "x"}, {}).reward.rules
    assert {rule.kind for rule in found} == set(KINDS)
    for kind in KINDS:
        assert f"| `{kind}` |" in page


def test_the_environment_gives_them_as_json(tmp_path: Path) -> None:
    given = {"RATCHET_REWARD_RULES": '[{"kind": "length", "maximum": 80}]'}
    assert load_settings(tmp_path, given, {}).reward.rules == (LengthRule(maximum=80),)
    with pytest.raises(Problem, match="not JSON"):
        load_settings(tmp_path, {"RATCHET_REWARD_RULES": "length=80"}, {})


def test_they_come_back_from_a_kept_model_and_from_an_update_that_goes_on() -> None:
    settings = RewardSettings(rules=read_rules(TABLES))
    assert RewardSettings(**asdict(settings)) == settings
    knobs = Knobs(settings, PPOSettings(), AnchorSettings(), GateSettings(), UpdateSettings())
    assert Knobs.from_json(asdict(knobs)) == knobs


@pytest.mark.parametrize(
    ("table", "said", "hint"),
    [
        ({"kind": "lenght"}, "Unknown kind lenght", "Did you mean length?"),
        ({"kind": "length", "maximun": 5}, "Unknown key maximun", "Did you mean maximum?"),
        ({"maximum": 5}, "has no kind", "length"),
        ({"kind": "length"}, "has no bound", "minimum"),
        ({"kind": "length", "minimum": 9, "maximum": 5}, "maximum is 5", "minimum"),
        ({"kind": "length", "maximum": "long"}, "maximum is 'long'", "ratchet.toml"),
        ({"kind": "banned", "pattern": "(a"}, "no regular expression", "Mend"),
        ({"kind": "banned", "pattern": "(a|aa)+$"}, "can take forever", "repeated"),
        ({"kind": "banned"}, "pattern is ''", "regular expression"),
        ({"kind": "format"}, "format is None", "json"),
        ({"kind": "safety"}, "lists no word", "file"),
        ({"kind": "safety", "words": ["!!"]}, "lists '!!'", "letters"),
        ({"kind": "language", "weight": 0.0}, "weight is 0.0", "above 0"),
        ({"kind": "language", "weight": float("nan")}, "weight is nan", "above 0"),
        ({"kind": "language", "name": "a b"}, "name is 'a b'", "letters"),
        ("length", "not a table", "kind"),
    ],
)
def test_what_cannot_work_is_refused_in_plain_words(table: Any, said: str, hint: str) -> None:
    with pytest.raises(Problem) as caught:
        read_rules([table])
    assert said in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.status == 2


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(Problem, match="Two rules are named length"):
        read_rules([{"kind": "length", "maximum": 5}, {"kind": "length", "minimum": 2}])


def test_a_file_of_words_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("rat poison\n\n# a remark\narsenic # another\n", encoding="utf-8")
    (rule,) = read_rules([{"kind": "safety", "file": str(file), "words": ["lead"]}])
    assert isinstance(rule, SafetyRule)
    assert rule.words == ("lead", "rat poison", "arsenic")
    file.unlink()
    assert read_rules([asdict(rule)]) == (rule,)
    with pytest.raises(Problem, match="cannot read"):
        read_rules([{"kind": "safety", "file": str(file)}])
