"""Servers that benches measure: each a process of its own, on a free port, ended when the block ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
PATIENCE = 180  # seconds for a server to come up
ENDING = 30  # seconds for it to end
QUIET = {
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "10000",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
# Left to itself its cache takes most of the machine's memory; so much holds 128 streams of 256 tokens.
PAGED = ("--cb-max-batch-tokens", "512", "--cb-num-blocks", "128")


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    model: str  # by which requests ask for its model
    pid: int

    @property
    def cpu_seconds(self) -> float:
        """What its process and the processes under it have used of the processors so far."""
        root = psutil.Process(self.pid)
        used = [each.cpu_times() for each in (root, *root.children(recursive=True))]
        return float(sum(times.user + times.system for times in used))

    @property
    def memory(self) -> float:
        """Resident memory, MB, of its process and those under it."""
        root = psutil.Process(self.pid)
        return sum(each.memory_info().rss for each in (root, *root.children(recursive=True))) / 1e6


@contextmanager
def serve_ratchet(
    home: Path, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`ratchet serve` on the store in `home`; RuntimeError, with what it logged, if it does not become ready."""
    port = free_port()
    command = [sys.executable, "-m", "ratchet", "serve", "--port", str(port), "--home", str(home), *flags]
    with _running(command, port, "/readyz", environment or {}) as pid:
        yield Server(f"http://127.0.0.1:{port}", "ratchet", pid)


@contextmanager
def serve_transformers(folder: Path, dtype: str, flags: Sequence[str] = PAGED) -> Iterator[Server]:
    """`transformers serve` with continuous batching on the model in `folder`; RuntimeError as for `serve_ratchet`."""
    port = free_port()
    script = Path(sys.executable).with_name("transformers")
    command = [sys.executable, str(script), "serve", str(folder), "--continuous-batching", "--device", "cpu"]
    command += ["--dtype", dtype, "--host", "127.0.0.1", "--port", str(port), *flags]
    with _running(command, port, "/health", {}) as pid:
        yield Server(f"http://127.0.0.1:{port}", str(folder), pid)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], port: int, path: str, environment: Mapping[str, str]) -> Iterator[int]:
    with tempfile.TemporaryFile("w+") as log:
        settings = {**os.environ, **QUIET, **environment}
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=settings)
        try:
            deadline = time.monotonic() + PATIENCE
            while not _ready(f"http://127.0.0.1:{port}{path}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = " ".join(log.read().split())
                    raise RuntimeError(f"{' '.join(command[1:4])} is not ready: {said[:300]} ... {said[-300:]}")
                time.sleep(0.1)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # not listening yet, or a status that says not ready
        return False
