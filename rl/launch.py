"""A training in processes of its own, started by `accelerate launch` with one of the configurations of
`deploy/accelerate/`.

The processes are `rl.worker`. They read `task.json` in the training's folder and leave `trained.json` there; what they
say of their progress comes back line by line, and all else that they print goes into `output.log`. They end when the
process that launched them does: they hold the other end of its pipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

from lm.loading import DTYPES
from problems import Problem
from rl.failures import Kind, TrainingEnded
from rl.workspace import Workspace

CONFIGURATIONS = Path(str(files("deploy"))) / "accelerate"
MARK = "ratchet: "  # before each line, a JSON object, that a worker means for the process that launched it
TASK, TRAINED, OUTPUT = "task.json", "trained.json", "output.log"
KEY = "RATCHET_BACKEND_KEY"  # the server's, in the workers' environment
TAIL = 15  # lines of output that a failure is told with
SHARDED = {"FSDP", "DEEPSPEED", "MEGATRON_LM"}


def configuration(name: str) -> tuple[Path, ClusterConfig]:
    """An accelerate configuration: a file, or one of `deploy/accelerate/` by its name without `.yaml`.

    Raises:
        Problem: there is none of that name, or accelerate cannot read it (status 2).
    """
    file = Path(name).expanduser()
    if not file.is_file():
        file = CONFIGURATIONS / f"{name}.yaml"
    if not file.is_file():
        ready = ", ".join(sorted(each.stem for each in CONFIGURATIONS.glob("*.yaml")))
        raise Problem(
            f"update.accelerate is {name!r}, which is neither a file nor a configuration of Ratchet.",
            hint=f"There are: {ready}.",
            status=2,
        )
    try:
        return file.resolve(), load_config_from_file(str(file))
    except (ValueError, TypeError, AttributeError) as error:
        raise Problem(
            f"accelerate cannot read {file}: {error}", hint="Write it with `accelerate config`.", status=2
        ) from error


def refuse_shards(file: Path, config: ClusterConfig) -> None:
    """Raise Problem if a configuration would spread weights or gradients over the processes (status 2).

    Engine, reward model, anchor and checks read whole weights, the anchor pulls whole gradients, and the adapter is
    written whole. What sharding saves most of, gradients and optimizer state, an adapter has little of.
    """
    kind = str(config.distributed_type.value)
    if kind in SHARDED:
        raise Problem(
            f"{file.name} spreads the weights over the processes ({kind}); an update needs the base and the adapter "
            "whole on each.",
            hint="Train with ddp, or with one_gpu where the base leaves room for one process only.",
            status=2,
        )


def launched_training(workspace: Workspace, file: Path, work: Path) -> dict[str, Any]:
    """The training step of an update by processes of their own; the same facts as `Workspace.train` gives.

    Args:
        file: accelerate's configuration.
        work: the step's folder, inside the update's.

    Raises:
        Problem: as `launch`.
    """
    base = workspace.base
    on_gpu = base.device.type != "cpu" and not load_config_from_file(str(file)).use_cpu
    task = {
        "model": base.model.name_or_path,
        "base": base.id,
        "fingerprint": base.fingerprint,
        "device": base.device.type if on_gpu else "cpu",
        "dtype": next(name for name, dtype in DTYPES.items() if dtype == base.model.dtype),
        "parent": str(workspace.parent_folder.resolve()) if workspace.parent_folder else None,
        "knobs": asdict(workspace.knobs),
        "server": None,
    }
    secrets = {}
    if workspace.server and workspace.knobs.ppo.rollouts == "vllm":
        task["server"] = {
            "settings": asdict(workspace.server.settings) | {"key": ""},
            "home": str(workspace.server.home.resolve()),
        }
        secrets = {KEY: workspace.server.settings.key}  # a file would keep it
    (work / TASK).write_text(json.dumps(task, indent=1), encoding="utf-8")
    launch(file, work, workspace.progress, secrets)
    return dict(json.loads((work / TRAINED).read_text(encoding="utf-8")))


def launch(
    file: Path, folder: Path, progress: Callable[[str, int, int], None], secrets: Mapping[str, str] | None = None
) -> None:
    """Run `rl.worker` on a training's folder under `accelerate launch`, until it has ended.

    Args:
        file: accelerate's configuration.
        folder: of the training, as `rl.worker` reads it.
        progress: called with what a worker says is done, how far, and of how much.
        secrets: more of the workers' environment.

    Raises:
        Problem: what a worker met that data or settings make impossible.
        TrainingEnded: a process ended otherwise with any exit code but 0; the last lines of output are in it.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)]
    command += ["-m", "rl.worker", str(folder.resolve())]
    paths = [str(CONFIGURATIONS.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **(secrets or {}), "PYTHONPATH": os.pathsep.join(paths)}
    tail: deque[str] = deque(maxlen=TAIL)
    problem: Problem | None = None
    failure: Kind = "passing"  # killed, unless a worker says what befell it
    ended = False  # a process has failed, and the launcher says so; its own traceback after that tells nothing new
    told = True
    with (
        (folder / OUTPUT).open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                said: dict[str, Any] = json.loads(line.removeprefix(MARK))
                if "progress" in said:
                    progress(*said["progress"])
                elif "failure" in said:
                    failure = said["failure"]
                elif problem is None:
                    problem = Problem(said["problem"], hint=said["hint"], status=said["status"])
                continue
            log.write(line)
            told = told and not (ended and line.startswith("Traceback"))
            if told and line.strip():
                tail.append(line.rstrip())
            ended = ended or "torch/distributed/elastic" in line
    if problem is not None:
        raise problem
    if process.returncode:
        raise TrainingEnded(
            f"The training under {file.name} ended with exit code {process.returncode}. Its last lines:\n"
            + "\n".join(tail),
            hint=f"The whole output is in {folder / OUTPUT}.",
            failure=failure,
        )
