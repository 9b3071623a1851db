"""The floors of the house: which room may import which, and what must be light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "problems": set(),
    "store": {"problems"},
    "lm": {"problems"},
    "reward": {"problems", "store", "lm"},
    "rl": {"problems", "store", "lm", "reward"},
    "chat": {"problems", "store", "lm", "reward"},
}
HOUSE = {*ALLOWED, "commands", "console", "settings", "ratchet"}


def imports(file: Path) -> Iterator[str]:
    """First names of everything that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively; name the room instead"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_rooms_import_only_what_lies_below(room: str) -> None:
    files = [ROOT / f"{room}.py"] if room == "problems" else sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        above = (set(imports(file)) & HOUSE) - ALLOWED[room] - {room}
        assert not above, f"{file.relative_to(ROOT)} imports {sorted(above)}"


@pytest.mark.parametrize("module", ["store", "lm", "reward", "rl", "chat", "settings", "commands", "ratchet"])
def test_the_command_line_starts_without_the_heavy_libraries(module: str) -> None:
    heavy = "{'torch', 'transformers', 'trl', 'gradio', 'datasets', 'peft'}"
    code = f"import sys, {module}; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_room_runs_code_from_data() -> None:
    banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    for room in ALLOWED:
        for file in sorted((ROOT / room).rglob("*.py")):
            assert not banned & set(imports(file)), file
            assert "trust_remote_code=True" not in file.read_text(encoding="utf-8"), file
