"""On what a bench ran, and where its figures are kept."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def machine(*packages: str) -> dict[str, Any]:
    """The machine, torch's threads, and versions of what was measured."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, "
        f"Python {platform.python_version()}, {torch.get_num_threads()} threads of torch",
        "versions": {name: version(name) for name in packages},
    }


def keep(name: str, result: dict[str, Any]) -> None:
    """Write bench/results/NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
