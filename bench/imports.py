"""How fast, and with how much memory, a large file of preferences comes in.

    python bench/imports.py [--pairs 200000]

Makes JSON lines and Parquet files of pairs of about 1 KB in a temporary folder, brings each into an empty store with
`ratchet import --json` in a process of its own, and takes rows a second, start included, by the clock and by the
processor's time, and the process's peak resident memory. Prints them, writes bench/results/imports.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench/results/imports.json"
WORDS = [
    "rate",
    "chat",
    "answer",
    "question",
    "which",
    "one",
    "the",
    "of",
    "and",
    "to",
    "a",
    "model",
    "blue",
    "sky",
    "why",
    "how",
    "long",
    "short",
    "kind",
    "plain",
]


def pairs(number: int) -> Iterator[dict[str, Any]]:
    """Pairs in conversational columns, each different, of about 1 KB."""
    draw = random.Random(0)

    def words(count: int) -> str:
        return " ".join(draw.choices(WORDS, k=count))

    for place in range(number):
        yield {
            "prompt": [{"role": "user", "content": f"{place}: {words(40)}"}],
            "chosen": [{"role": "assistant", "content": words(80)}],
            "rejected": [{"role": "assistant", "content": words(60)}],
        }


def write_lines(path: Path, number: int) -> None:
    """The pairs as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in pairs(number))


def write_parquet(path: Path, number: int) -> None:
    """The pairs as Parquet, uncompressed, in row groups as large as the library makes them."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(list(pairs(number))), path, compression="none")


def measure(file: Path, number: int, home: Path) -> dict[str, Any]:
    """Bring the file into an empty store: seconds, rows a second, peak resident bytes of the process."""
    command = [sys.executable, "-m", "ratchet", "import", str(file), "--home", str(home), "--json"]
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    report = json.loads(said.splitlines()[-1])
    if status != 0 or report["imported"] != number:
        raise SystemExit(f"The import failed: {report}")
    return {
        "file": file.suffix,
        "file_bytes": file.stat().st_size,
        "rows": number,
        "seconds": seconds,
        "rows_per_second": number / seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "rows_per_processor_second": number / (used.ru_utime + used.ru_stime),
        "peak_rss_bytes": _bytes(used),
        "store_bytes": sum(each.stat().st_size for each in home.iterdir()),
    }


def _bytes(used: resource.struct_rusage) -> int:
    # macOS counts bytes, Linux counts 1024 of them.
    return used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200_000)
    number = parser.parse_args().pairs
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, "
        f"Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("sqlalchemy", "pyarrow")} | {"sqlite": sqlite3.sqlite_version},
        "imports": [],
    }
    print(f"{result['machine']} {result['versions']}")
    for name, write in (("pairs.jsonl", write_lines), ("pairs.parquet", write_parquet)):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            # In a process of its own: what this one holds would count as the peak of its children at their start.
            made = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from bench import imports"
            subprocess.run(
                [sys.executable, "-c", f"{made}; imports.{write.__name__}(Path({str(file)!r}), {number})"], check=True
            )
            one = measure(file, number, Path(folder) / "home")
        result["imports"].append(one)
        print(
            f"{name}: {one['file_bytes'] / 1e6:.0f} MB, {number} pairs in {one['seconds']:.1f} s, "
            f"{one['rows_per_second']:.0f} rows/s ({one['rows_per_processor_second']:.0f} by processor time), "
            f"peak {one['peak_rss_bytes'] / 1e6:.0f} MB"
        )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
