"""Rules as they are written: read from tables and JSON, kept and read again, and refused with the way out."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from problems import Problem
from reward.rule_settings import KINDS, LanguageRule, LengthRule, Rule, SafetyRule, read_rules
from reward.settings import RewardSettings
from rl.settings import AnchorSettings, GateSettings, PPOSettings, StoppingSettings, UpdateSettings
from rl.workspace import Knobs
from settings import load_settings

PAGE = Path(__file__).parents[2] / "docs/rules.md"


def example() -> str:
    """The page's ratchet.toml."""
    return PAGE.read_text("utf-8").split("```toml\n")[1].split("```")[0]


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Rule, ...]:
    """The rules of the page's example, as the whole program reads them."""
    monkeypatch.chdir(tmp_path)
    Path("ratchet.toml").write_text(example(), "utf-8")
    Path("words.txt").write_text("# ours\nbomb\nkill yourself  # a phrase\n\nbomb\n", "utf-8-sig")
    return load_settings(tmp_path, {}).reward.rules


def test_the_pages_example_has_each_kind(rules: tuple[Rule, ...]) -> None:
    assert {rule.kind for rule in rules} == set(KINDS)
    (safety,) = [rule for rule in rules if isinstance(rule, SafetyRule)]
    assert {"bomb", "kill yourself"} <= set(safety.words)
    assert len(set(safety.words)) == len(safety.words)
    assert safety.file == ""


def test_the_page_names_each_kind_and_each_knob() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    named: dict[str, set[str]] = {}
    for kind, knob, *_ in rows:
        named.setdefault(kind.strip(" `"), set()).add(knob.strip(" `"))
    common = named.pop("any")
    assert common == {"kind", "name", "weight", "when"}
    assert named == {kind: {each.name for each in fields(rule)} - common for kind, rule in KINDS.items()}


def test_kept_rules_come_back_as_they_were(rules: tuple[Rule, ...]) -> None:
    Path("words.txt").unlink()
    kept = RewardSettings(rules=rules)
    again = RewardSettings(**json.loads(json.dumps(asdict(kept))))
    assert again == kept
    knobs = Knobs(kept, PPOSettings(), AnchorSettings(), StoppingSettings(), GateSettings(), UpdateSettings())
    assert Knobs.from_json(json.loads(json.dumps(asdict(knobs)))) == knobs


def test_the_environment_holds_them_as_json(tmp_path: Path) -> None:
    given = '[{"kind": "length", "maximum": 80, "weight": 0.25}, {"kind": "language"}]'
    rules = load_settings(tmp_path, {"RATCHET_REWARD_RULES": given}).reward.rules
    assert rules == (LengthRule(maximum=80, weight=0.25), LanguageRule())
    (tmp_path / "ratchet.toml").write_text('[[reward.rules]]\nkind = "repetition"\n')
    assert load_settings(tmp_path, {"RATCHET_REWARD_RULES": given}).reward.rules == rules
    assert load_settings(tmp_path, {"RATCHET_REWARD_RULES": "[]"}).reward.rules == ()
    with pytest.raises(Problem, match="not JSON") as caught:
        load_settings(tmp_path, {"RATCHET_REWARD_RULES": "[{kind: length}]"})
    assert "RATCHET_REWARD_RULES=" in caught.value.hint


def test_a_name_is_the_kind_unless_it_is_given() -> None:
    assert [rule.name for rule in read_rules([{"kind": "language"}, {"kind": "language", "name": "x"}])] == [
        "language",
        "x",
    ]


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ('kind = "lenght"', "Unknown kind lenght in rule 1", "Did you mean length?"),
        ('kind = ["length"]', "Unknown kind", "Did you mean"),
        ("weight = 1", "rule 1 of reward.rules has no kind", "length, language"),
        ('kind = "length"\nmaximun = 3', r"Unknown key maximun .*\(length\)", "Did you mean maximum?"),
        ('kind = "length"', "has no bound", "maximum"),
        ('kind = "length"\nmaximum = "x"', "maximum is 'x'", "ratchet.toml"),
        ('kind = "length"\nmaximum = 2.5', "maximum is 2.5", "ratchet.toml"),
        ('kind = "length"\nminimum = 9\nmaximum = 3', "maximum is 3", "from the minimum up"),
        ('kind = "length"\nmaximum = 3\nfalloff = -1', "falloff is -1", "from 0 up"),
        ('kind = "length"\nmaximum = 3\nunit = "lines"', "unit is 'lines'", "ratchet.toml"),
        ('kind = "language"\ntolerance = 1', "tolerance is 1", "below 1"),
        ('kind = "language"\nweight = 0', "weight is 0", "above 0"),
        ('kind = "language"\nweight = -1', "weight is -1", "only takes away"),
        ('kind = "language"\nweight = inf', "weight is inf", "above 0"),
        ('kind = "language"\nweight = nan', "weight is nan", "above 0"),
        ('kind = "language"\nweight = 1e300', r"weight is 1e\+300", "at most 100"),
        ('kind = "language"\nname = "my rule"', "name is 'my rule'", "letters"),
        ('kind = "language"\nwhen = "("', "language's when is no regular expression.*position 1", "Mend it"),
        ('kind = "banned"\npattern = "(a"', "banned's pattern is no regular expression", "Mend it"),
        ('kind = "banned"\npattern = "(a|aa)+$"', "can take forever", "repeated part"),
        ('kind = "banned"', "pattern is ''", "regular expression"),
        ('kind = "required"\npattern = "a"\nmatches = 0', "matches is 0", "from 1 up"),
        ('kind = "format"', "format is None", "json, list"),
        ('kind = "format"\nformat = "xml"', "format is 'xml'", "ratchet.toml"),
        ('kind = "safety"', "lists no word", "words or a file"),
        ('kind = "safety"\nwords = ["..."]', "lists '...'", "letters or digits"),
        ('kind = "safety"\nfile = "nowhere.txt"', "cannot read nowhere.txt", "UTF-8"),
        ('kind = "language"\n[[reward.rules]]\nkind = "language"', "Two rules are named language", "name ="),
    ],
)
def test_mistakes_are_refused_with_the_way_out(tmp_path: Path, table: str, message: str, hint: str) -> None:
    (tmp_path / "ratchet.toml").write_text(f"[[reward.rules]]\n{table}\n")
    with pytest.raises(Problem, match=message) as caught:
        load_settings(tmp_path, {})
    assert hint in caught.value.hint
    assert caught.value.status == 2


@pytest.mark.parametrize("document", ['reward.rules = "none"', "reward.rules = 3", "reward.rules = ['length']"])
def test_what_is_no_list_of_tables_is_refused(tmp_path: Path, document: str) -> None:
    (tmp_path / "ratchet.toml").write_text(document)
    assert tomllib.loads(document)
    with pytest.raises(Problem, match=r"JSON|no list|not a table"):
        load_settings(tmp_path, {})
