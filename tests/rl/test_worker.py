"""One process of a launched training: its problems come back as they are, and it ends with the one that launched it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from problems import Problem
from rl.launch import OUTPUT, TASK, launch

ALONE = """
compute_environment: LOCAL_MACHINE
distributed_type: "NO"
num_machines: 1
num_processes: 1
mixed_precision: "no"
use_cpu: true
"""


def test_a_problem_of_a_worker_is_told_as_it_is_and_its_output_is_kept(tiny_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "train.tmp"
    work.mkdir()
    (tmp_path / "alone.yaml").write_text(ALONE)
    task = {"model": str(tiny_folder), "device": "cpu", "dtype": "float32", "fingerprint": "of another"}
    (work / TASK).write_text(json.dumps(task))
    with pytest.raises(Problem, match="has changed since the update began") as told:
        launch(tmp_path / "alone.yaml", work, lambda label, done, total: None)
    assert told.value.hint == "Put it back."
    assert "rl.worker" in (work / OUTPUT).read_text()  # accelerate names the command that failed


def test_a_worker_ends_when_the_process_that_launched_it_does(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / TASK)  # reading the task waits for a writer that never comes
    command = [sys.executable, "-m", "rl.worker", str(tmp_path)]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}) as worker:
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait() == 1  # the suite's time limit ends it, should it never
