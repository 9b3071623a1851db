"""The configuration: one typed object made of each room's section.

Defaults, then `ratchet.toml`, then `RATCHET_*` in the environment, then flags. A key of a section is `[section] key =
...` in the file and `RATCHET_SECTION_KEY` in the environment; a key of no section stands at the top of the file and is
`RATCHET_KEY`; a list is written there with commas between, or as JSON. An unknown key is refused with
the nearest known name.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chat.settings import ChatSettings
from lm.settings import BackendSettings, EngineSettings, Sampling
from problems import Problem
from reward.settings import RewardSettings
from rl.settings import (
    AlgorithmSettings,
    AnchorSettings,
    GateSettings,
    PPOSettings,
    StoppingSettings,
    UpdateSettings,
)

FILE = "ratchet.toml"
ENVIRONMENT = "RATCHET_"
SECRETS = {"backend.key"}  # never shown
ELSEWHERE = {"RATCHET_CHROMIUM"}  # read by the browser tests, not a key


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; each section belongs to the room that reads it."""

    home: Path = Path("ratchet-data")  # database, versions and updates
    database_url: str | None = None  # postgresql://user@host/name; SQLite in `home` without one
    model: str = "starter"  # the base: "starter", a folder, or an id of the hub
    device: str = "auto"  # "auto", "cpu", "cuda"
    dtype: str = "auto"  # "auto", "float32", "bfloat16", "float16"
    engine: EngineSettings = field(default_factory=EngineSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    sampling: Sampling = field(default_factory=Sampling)
    chat: ChatSettings = field(default_factory=ChatSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)
    ppo: PPOSettings = field(default_factory=PPOSettings)
    algorithms: AlgorithmSettings = field(default_factory=AlgorithmSettings)
    anchor: AnchorSettings = field(default_factory=AnchorSettings)
    stopping: StoppingSettings = field(default_factory=StoppingSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    update: UpdateSettings = field(default_factory=UpdateSettings)


SECTIONS: dict[str, Any] = {
    each.name: each.default_factory for each in fields(Settings) if is_dataclass(each.default_factory)
}


def load_settings(folder: Path, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force.

    Args:
        folder: where `ratchet.toml` is looked for.
        environment: of the process.
        flags: keys by name, a section's as "section.key"; None means not given.

    Raises:
        Problem: the file is not TOML, a key is unknown, or a value is of the wrong type (status 2).
    """
    values: dict[str, Any] = {}
    file = folder / FILE
    if file.is_file():
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Problem(f"{file} is not valid TOML: {error}.", hint="Mend the file.", status=2) from error
        _merge(values, document, str(file))
    _merge(values, _from_environment(environment), "the environment")
    for name, value in (flags or {}).items():
        if value is not None:
            *section, key = name.split(".")
            (values.setdefault(section[0], {}) if section else values)[key] = value
    try:
        return TypeAdapter(Settings).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = "not shown" if where in SECRETS else repr(first["input"])
        raise Problem(
            f"The setting {where} is {given}: {first['msg']}.",
            hint=f"Look in {FILE}, in the {ENVIRONMENT}* variables and in the flags.",
            status=2,
        ) from error


def _merge(values: dict[str, Any], new: Mapping[str, Any], source: str) -> None:
    """Add `new` to `values`, refusing what no section knows."""
    top = {each.name for each in fields(Settings)}
    for key, value in new.items():
        if key not in top:
            raise _unknown(key, top, source)
        if key not in SECTIONS:
            values[key] = value
            continue
        if not isinstance(value, Mapping):
            raise Problem(
                f"{key} in {source} is a section, not a value.", hint=f"Write [{key}] above its keys.", status=2
            )
        known = {each.name for each in fields(SECTIONS[key])}
        for name in value:
            if name not in known:
                raise _unknown(f"{key}.{name}", {f"{key}.{each}" for each in known}, source)
        values.setdefault(key, {}).update(value)


def _unknown(key: str, known: set[str], source: str) -> Problem:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return Problem(f"Unknown key {key} in {source}.", hint=f"Did you mean {near[0]}?", status=2)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """RATCHET_* variables as nested keys."""
    found: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT) or variable in ELSEWHERE:
            continue
        key = variable.removeprefix(ENVIRONMENT).lower()
        section, _, rest = key.partition("_")
        if section in SECTIONS and rest:
            found.setdefault(section, {})[rest] = _listed(value) if _is_list(section, rest) else value
        else:
            found[key] = value
    return found


def _is_list(section: str, key: str) -> bool:
    return any(each.name == key and str(each.type).startswith("tuple[") for each in fields(SECTIONS[section]))


def _listed(value: str) -> Any:
    """A list as a variable holds it; what looks like JSON and is none is refused as a value of the wrong type."""
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return [each.strip() for each in value.split(",") if each.strip()]
