"""Environments of other programs that a bench measures against: what they require cannot be installed beside Ratchet.

Each is built once, by pip, and kept under $RATCHET_BENCH_ENVIRONMENTS (default ~/.cache/ratchet/envs).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TORCH = "torch==2.13.0"  # a range would bring gigabytes of CUDA where the CPU's build is wanted


def environment(name: str, requirements: Sequence[str], home: Path | None = None, torch: str = TORCH) -> Path:
    """The Python of an environment that holds `requirements` and this version of torch; built when it is not there.

    Args:
        name: of the environment; a change of requirements makes another one.
        requirements: in pip's words, each with its version.
        home: folder of environments, in place of the default one.
        torch: installed first, and held while the others are.

    Raises:
        CalledProcessError: pip could not install them; the next call begins anew.
    """
    default = os.environ.get("RATCHET_BENCH_ENVIRONMENTS", "~/.cache/ratchet/envs")
    home = (home or Path(default)).expanduser().resolve()
    wanted = "\n".join([torch, *requirements, sys.version]) + "\n"
    folder = home / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    python, complete = folder / "bin" / "python", folder / "requirements.txt"
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds, others wait for it
        if complete.is_file():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        held = folder / "constraints.txt"
        held.write_text(f"{torch}\n", encoding="utf-8")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, torch], check=True)
        subprocess.run([*install, "--constraint", held, *requirements], check=True)
        complete.write_text(wanted, encoding="utf-8")
    return python
