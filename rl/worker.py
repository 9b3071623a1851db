"""One process of a training that `rl.launch` started: `accelerate launch --config_file FILE -m rl.worker FOLDER`.

FOLDER is an update's `train.tmp`. What it learns from stands beside it (dataset, reward, anchor) and in its `task.json`
(base, parent, knobs). Every process trains; the main one reports progress and writes the adapter and `trained.json`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from lm.loading import load_base
from lm.settings import BackendSettings
from problems import Problem
from rl.failures import kind_of
from rl.launch import KEY, MARK, TASK, TRAINED
from rl.rollout import Server
from rl.workspace import Knobs, Workspace


def main(folder: Path) -> int:
    """Train; returns the exit status. What befell it is told to the process that launched it."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        train(folder)
    except Exception as error:
        failure = kind_of(error)
        if not isinstance(error, Problem) or failure != "lasting":
            _say({"failure": failure})
            raise
        _say({"problem": str(error), "hint": error.hint, "status": error.status})
        return error.status
    return 0


def train(folder: Path) -> None:
    """Train as `task.json` says. Raises Problem if the base is not the one that the update stands on."""
    task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if task["device"] == "cuda" else task["device"]
    base = load_base(task["model"], device, task["dtype"])
    if base.fingerprint != task["fingerprint"]:
        raise Problem(f"The model in {task['model']} has changed since the update began.", hint="Put it back.")
    there = task["server"]
    workspace = Workspace(
        folder.parent,
        replace(base, id=task["base"]),
        Knobs.from_json(task["knobs"]),
        Path(task["parent"]) if task["parent"] else None,
        lambda label, done, total: _say({"progress": [label, done, total]}),
        Server(BackendSettings(**there["settings"] | {"key": os.environ[KEY]}), Path(there["home"])) if there else None,
    )
    facts = workspace.train(folder)
    state = PartialState()
    if state.is_main_process:
        (folder / TRAINED).write_text(json.dumps(facts), encoding="utf-8")
    state.wait_for_everyone()
    state.destroy_process_group()


def _say(what: dict[str, Any]) -> None:
    """Tell the process that launched this one; in one write and on a line of its own, whatever others print."""
    sys.stdout.write(f"\n{MARK}{json.dumps(what)}\n")
    sys.stdout.flush()


def _end_with_input() -> None:
    """End this process when standard input does: its other end is held by the process that launched the training.

    Without that, an update that was killed would leave its training behind, and the next one would train in the same
    folder.
    """
    while os.read(0, 1):  # not sys.stdin: a buffer that a thread reads cannot be closed at the interpreter's end
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
