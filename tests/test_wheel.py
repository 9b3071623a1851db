"""A wheel holds every file that the code reads, and runs without the checkout that it was built from."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what the build reads, and unpacked."""
    place = tmp_path_factory.mktemp("wheel")
    names = [f"{name}.py" for name in _built()["py-modules"]]
    for each in (*_rooms(), *names, "pyproject.toml", "README.md", "LICENSE"):
        source, copy = ROOT / each, place / "source" / each
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", str(place), str(place / "source")],
        check=True,
        capture_output=True,
    )
    [file] = place.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def _built() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"])


def _rooms() -> list[str]:
    return [pattern.rstrip("*") for pattern in _built()["packages"]["find"]["include"]]


def test_every_file_of_every_room_is_in_the_wheel(wheel: Path) -> None:
    files = {
        file.relative_to(ROOT)
        for room in _rooms()
        for file in (ROOT / room).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    files -= {file for file in files if file.suffix == ".sh"}  # they set up a checkout
    assert {file.suffix for file in files} >= {".py", ".yaml", ".safetensors", ".json", ".jinja"}
    assert [file for file in sorted(files) if not (wheel / file).is_file()] == []


def test_what_reads_files_finds_them_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(wheel)!r})
from pathlib import Path

from lm.loading import load_base
from rl.launch import CONFIGURATIONS, configuration
from store.database import open_store
import deploy, lm, rl, store

for module in (deploy, lm, rl, store):
    assert Path(module.__file__).is_relative_to({str(wheel)!r}), module.__file__
names = sorted(file.stem for file in CONFIGURATIONS.glob("*.yaml"))
for name in names:
    assert configuration(name)[0].is_relative_to({str(wheel)!r})
open_store(Path({str(tmp_path)!r})).close()
assert load_base("starter", "cpu", "float32").tokenizer.chat_template
print(*names)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == sorted(file.stem for file in (ROOT / "deploy/accelerate").glob("*.yaml"))
