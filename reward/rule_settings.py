"""Rules that an operator writes beside the learned heads: their kinds, their knobs, and how a file's tables are read.

A rule costs between nothing, where an answer keeps it, and its weight, where an answer breaks it in full.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, TypeAdapter, ValidationError

from problems import Problem
from reward.patterns import check_pattern
from reward.words import spellings

HEAVIEST = 100.0  # weight of a rule; what was learned lies within `reward.clip`, 5 by default


@dataclass(frozen=True, kw_only=True)
class _AnyRule:
    """What every kind has. Raises Problem (status 2) for a value that cannot work."""

    kind: str
    name: str = ""  # in logs and reports; the kind where none is given
    weight: float = 0.5  # what breaking the rule in full costs, in deviations of the learned reward
    when: str = ""  # regular expression; the rule acts only where it is found in the last user turn

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)
        if not re.fullmatch(r"[\w.-]+", self.name):
            self._refuse("name", "letters, digits, _, - and .")
        if not (math.isfinite(self.weight) and 0 < self.weight <= HEAVIEST):
            self._refuse("weight", f"a number above 0, at most {HEAVIEST:.0f}; a rule only takes away")
        check_pattern(self.when, f"The rule {self.name}'s when")

    def _refuse(self, key: str, allowed: str) -> None:
        raise Problem(f"The rule {self.name}'s {key} is {getattr(self, key)!r}.", hint=f"Give {allowed}.", status=2)

    def _at_least(self, key: str, least: int) -> None:
        if getattr(self, key) < least:
            self._refuse(key, f"a whole number from {least} up")


@dataclass(frozen=True, kw_only=True)
class LengthRule(_AnyRule):
    """An answer's length lies between two bounds."""

    kind: Literal["length"] = "length"
    minimum: int = 0  # units, at least
    maximum: int | None = None  # units, at most; none where it is left out
    unit: Literal["tokens", "words"] = "tokens"  # the base's tokens, or words
    falloff: int = 0  # units outside a bound that cost the whole weight; 0: as many as the bound itself

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("minimum", 0)
        self._at_least("falloff", 0)
        if self.maximum is not None and self.maximum < max(1, self.minimum):
            self._refuse("maximum", "a whole number from 1 and from the minimum up")
        if not self.minimum and self.maximum is None:
            raise Problem(f"The rule {self.name} has no bound.", hint="Give minimum, maximum or both.", status=2)


@dataclass(frozen=True, kw_only=True)
class LanguageRule(_AnyRule):
    """An answer is in the language of the last user turn."""

    kind: Literal["language"] = "language"
    tolerance: float = 0.25  # share of an answer's words that may be in another language

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tolerance < 1:
            self._refuse("tolerance", "a number from 0 up to below 1")


@dataclass(frozen=True, kw_only=True)
class RepetitionRule(_AnyRule):
    """An answer does not say the same again and again."""

    kind: Literal["repetition"] = "repetition"
    n: int = 3  # words that must come again together; of Chinese and Japanese, twice as many characters
    tolerance: float = 0.1  # share of repeated n-grams that costs nothing

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("n", 1)
        if not 0 <= self.tolerance < 1:
            self._refuse("tolerance", "a number from 0 up to below 1")


@dataclass(frozen=True, kw_only=True)
class _PatternRule(_AnyRule):
    pattern: str = ""  # regular expression, searched in the answer; (?i) at its start ignores case
    matches: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("matches", 1)
        if not self.pattern:
            self._refuse("pattern", "a regular expression")
        check_pattern(self.pattern, f"The rule {self.name}'s pattern")


@dataclass(frozen=True, kw_only=True)
class BannedRule(_PatternRule):
    """A regular expression is not found in the answer; `matches` finds cost the whole weight, fewer their share."""

    kind: Literal["banned"] = "banned"


@dataclass(frozen=True, kw_only=True)
class RequiredRule(_PatternRule):
    """A regular expression is found in the answer `matches` times; each time that is missing costs its share."""

    kind: Literal["required"] = "required"


Format = Literal["json", "list", "no_markdown", "single_line", "code_block"]


@dataclass(frozen=True, kw_only=True)
class FormatRule(_AnyRule):
    """An answer has a form."""

    kind: Literal["format"] = "format"
    format: Format | None = None  # must be given

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format is None:
            self._refuse("format", f"one of {', '.join(get_args(Format))}")


@dataclass(frozen=True, kw_only=True)
class SafetyRule(_AnyRule):
    """An answer holds none of the words and phrases of a list."""

    kind: Literal["safety"] = "safety"
    words: tuple[str, ...] = ()  # words and phrases
    file: str = ""  # with more of them, one a line, # before a remark; read once and kept in `words`
    matches: int = 1  # finds that cost the whole weight; fewer cost their share

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("matches", 1)
        words = [*self.words, *(_lines(self.name, Path(self.file)) if self.file else [])]
        for word in words:
            if not spellings(word):
                raise Problem(
                    f"The rule {self.name} lists {word!r}.", hint="Give words with letters or digits.", status=2
                )
        if not words:
            raise Problem(f"The rule {self.name} lists no word.", hint="Give words or a file.", status=2)
        object.__setattr__(self, "words", tuple(dict.fromkeys(words)))
        object.__setattr__(self, "file", "")  # an update that is resumed must not depend on a file that changed


Rule = Annotated[
    LengthRule | LanguageRule | RepetitionRule | BannedRule | RequiredRule | FormatRule | SafetyRule,
    Field(discriminator="kind"),
]
KINDS: dict[str, Any] = {
    each.kind: each
    for each in (LengthRule, LanguageRule, RepetitionRule, BannedRule, RequiredRule, FormatRule, SafetyRule)
}


def read_rules(given: object) -> tuple[Rule, ...]:
    """Rules from what a file, the environment or a kept model holds of them.

    Args:
        given: rules or tables with their keys, in a list; or the same as JSON.

    Raises:
        Problem: unknown kinds and keys, values that cannot work, two rules of one name (status 2).
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise Problem(
                f"reward.rules is text that is not JSON: {error}.",
                hint='Write RATCHET_REWARD_RULES=\'[{"kind": "length", "maximum": 80}]\'.',
                status=2,
            ) from error
    if not isinstance(given, list | tuple):
        raise Problem("reward.rules is no list of tables.", hint="Write [[reward.rules]] above each rule.", status=2)
    rules = tuple(_read(each, f"rule {number} of reward.rules") for number, each in enumerate(given, 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise Problem(f"Two rules are named {name}.", hint='Give each a name of its own: name = "...".', status=2)
    return rules


def _read(given: object, where: str) -> Rule:
    if isinstance(given, tuple(KINDS.values())):
        return cast(Rule, given)
    if not isinstance(given, Mapping):
        raise Problem(f"The {where} is {given!r}, not a table.", hint='Give at least its kind: kind = "..."', status=2)
    if "kind" not in given:
        raise Problem(f"The {where} has no kind.", hint=f"Give one of {', '.join(KINDS)}.", status=2)
    kind = given["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise Problem(f"Unknown kind {kind} in {where}.", hint=_nearest(str(kind), KINDS), status=2)
    known = [each.name for each in fields(KINDS[kind])]
    for key in given:
        if key not in known:
            raise Problem(f"Unknown key {key} in {where} ({kind}).", hint=_nearest(str(key), known), status=2)
    try:
        rule: Rule = TypeAdapter(Rule).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:])
        raise Problem(
            f"In {where} ({kind}), {key} is {first['input']!r}: {first['msg']}.",
            hint="Look in ratchet.toml and in RATCHET_REWARD_RULES.",
            status=2,
        ) from error
    return rule


def _nearest(name: str, known: Iterable[str]) -> str:
    return f"Did you mean {difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]}?"


def _lines(name: str, file: Path) -> list[str]:
    """Words of a file, one a line; empty lines and what follows a # are left out."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(
            f"The rule {name} cannot read {file}: {error}.", hint="Give a text file in UTF-8, a word a line.", status=2
        ) from error
    return [word for line in text.splitlines() if (word := line.partition("#")[0].strip())]
