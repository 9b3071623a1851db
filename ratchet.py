"""The front door: what `ratchet` runs, and how every failure is told. The commands are in `commands`.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 nothing to do, 4 the gate rejected the candidate.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from typing import Any

import click

# Threads that wait by spinning take the machine from other people; threads that sleep at once take a tenth of a
# millisecond to wake, longer than a small matrix product lasts. So they spin for about that long, then sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# Kernels for bfloat16 are made for each shape that comes up, and kept: 128 take a tenth of the default's memory.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "128")  # of what torch keeps above oneDNN, one entry a shape too
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a self-hosted chat tells nobody that it runs

from commands import feedback, keys, people, rewards, serving, updating
from commands.frame import cli
from console import Outcome, show
from problems import Problem

__all__ = ["cli", "feedback", "keys", "main", "people", "rewards", "serving", "updating"]


def main() -> None:
    """Run the command line; every failure ends as one or two sentences and an exit status."""
    if "--debug" not in sys.argv:
        warnings.filterwarnings("ignore", category=FutureWarning)  # libraries talking to each other, not to the user
    try:
        cli(standalone_mode=False)
    except Problem as problem:
        _fail(str(problem), problem.hint, problem.status, problem.data)
    except click.UsageError as error:
        _fail(error.format_message(), f"`{error.ctx.command_path if error.ctx else 'ratchet'} --help` says more.", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", "", 130)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}", "Run it again with --debug for the traceback.", 1)


def _fail(message: str, hint: str, status: int, data: Mapping[str, Any] | None = None) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    if "--json" in sys.argv:
        show(Outcome({**(data or {}), "error": message, "hint": hint}, ""), as_json=True)
    print(f"Error: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
