"""Whether the tests give one verdict on every processor: the suite under each setting that changes how sums are done.

    python bench/suite_settings.py [PATH ...] [--processors own avx512 avx2 plain] [--threads 1 2] [--seeds 0 1 2]
                                    [--result FILE]

Runs the tests (all, or PATH) once under each combination of processor, threads and base seed, in turn. `own` is this
processor as it is; the others take instructions away from torch's own kernels, oneDNN, MKL and OpenBLAS, which then
sum in another order; `plain` has no more than SSE 4.2, so that nothing multiplies bfloat16. A combination that one
run finished is not repeated by the next, unless with --again. Prints a table, writes
bench/results/suite_settings.json (or FILE) after each combination: tests that failed by name, and the slowest tests.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from machine import RESULTS, machine

ROOT = Path(__file__).parent.parent
RESULT = RESULTS / "suite_settings.json"
PATIENCE = 900  # seconds for one test: a busy machine is not a failure
SLOWEST = 20
PROCESSORS = {
    "own": {},
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "plain": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
GOVERNED = sorted({name for variables in PROCESSORS.values() for name in variables})


def environment(processor: str, threads: int, seed: int) -> dict[str, str]:
    """The variables of a run; none that the shell set for its own ends is left."""
    kept = {name: value for name, value in os.environ.items() if name not in GOVERNED}
    return {
        **kept,
        **PROCESSORS[processor],
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "RATCHET_TEST_SEED": str(seed),
    }


def read_report(path: Path) -> dict[str, Any]:
    """Counts, failures (name: first line of the reason) and the slowest tests of pytest's JUnit report."""
    failed, seconds, skipped = {}, {}, 0
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        seconds[name] = round(float(case.get("time", 0)), 2)
        skipped += case.find("skipped") is not None
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                failed[name] = (found.get("message") or kind).strip().split("\n")[0][:300]
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:SLOWEST]
    return {"tests": len(seconds), "skipped": skipped, "failed": failed, "slowest": dict(slowest)}


def run_suite(paths: list[str], processor: str, threads: int, seed: int) -> dict[str, Any]:
    """Run the tests once, and say what came of it. Raises `RuntimeError` where pytest itself did not get through."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"),
            *("--timeout", str(PATIENCE), "--junitxml", str(report), *paths),
        ]
        begun = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env=environment(processor, threads, seed), text=True, capture_output=True
        )
        seconds = time.monotonic() - begun
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return {"seconds": round(seconds), **read_report(report)}


def commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout.strip()


def failures(runs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Each test that ever failed, with the combinations under which it did."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for name in run["failed"]:
            found.setdefault(name, []).append(f"{run['processor']}, {run['threads']} threads, seed {run['seed']}")
    return found


def main() -> None:
    """Run what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", default=[], metavar="PATH")
    parser.add_argument("--processors", nargs="+", choices=PROCESSORS, default=list(PROCESSORS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--again", action="store_true", help="forget the combinations that were finished")
    parser.add_argument("--result", type=Path, default=RESULT, metavar="FILE")
    asked = parser.parse_args()
    file: Path = asked.result
    result: dict[str, Any] = {"paths": asked.paths, "runs": []}
    if file.exists() and not asked.again:
        before = json.loads(file.read_text())
        if before["paths"] != asked.paths:
            sys.exit(f"{file} is of {before['paths'] or 'the whole suite'}: pass the same paths, or --again")
        result = before
    done = {(run["processor"], run["threads"], run["seed"]): run for run in result["runs"]}
    print(f"{'processor':10} {'threads':>7} {'seed':>4} {'tests':>6} {'skipped':>7} {'failed':>6} {'seconds':>7}")
    # Seeds turn slowest: what hangs on a processor shows in the first of them.
    for seed, threads, processor in itertools.product(asked.seeds, asked.threads, asked.processors):
        run = done.get((processor, threads, seed))
        if run is None:
            run = {"processor": processor, "threads": threads, "seed": seed, "commit": commit()}
            run |= run_suite(asked.paths, processor, threads, seed)
            result["runs"].append(run)
            kept = {**machine("torch", "numpy", "pytest"), **result, "failures": failures(result["runs"])}
            partial = file.with_suffix(".tmp")
            partial.write_text(json.dumps(kept, indent=1) + "\n")
            partial.replace(file)  # stopped at any moment, what was finished is still there
        print(
            f"{processor:10} {threads:7} {seed:4} {run['tests']:6} {run['skipped']:7} {len(run['failed']):6} "
            f"{run['seconds']:7}",
            flush=True,
        )
    times = Counter({name: len(where) for name, where in failures(result["runs"]).items()})
    for name, count in times.most_common():
        print(f"{count:3} of {len(result['runs'])}  {name}")


if __name__ == "__main__":
    main()
