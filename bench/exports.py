"""A large store on its way out: how fast, and how much memory.

    python bench/exports.py [--ratings 1000000] [--folder FOLDER]

Fills a store with thumbs (bulk inserts; one text in fifty holds something personal), then runs `ratchet export --as
unpaired --json` on it as a process of its own: with scrubbing and without, as JSON lines and as Parquet. Prints a
table, writes bench/results/exports.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from store.database import open_store
from store.schema import Tables

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench/results/exports.json"
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ["order", "parcel", "arrives", "on", "Monday", "please", "check", "the", "size", "of", "our", "blue", "lamp"]
WORDS += ["订单", "明天", "到", "谢谢", "it", "weighs", "400", "gram"]
PERSONAL = ["mail ann@example.com", "call +44 20 7946 0958", "电话13800138000", "card 4111 1111 1111 1111"]
RUNS = (
    ("jsonl, scrubbed", "out.jsonl", []),
    ("jsonl, not scrubbed", "out.jsonl", ["--no-scrub"]),
    ("jsonl, scrubbed, one file", "out.jsonl", ["--no-llama-factory"]),
    ("parquet, scrubbed", "out.parquet", []),
)


def words(chance: random.Random, number: int) -> str:
    """A text of `number` words."""
    said = chance.choices(WORDS, k=number)
    if chance.random() < 0.02:
        said[number // 2] = chance.choice(PERSONAL)
    return " ".join(said)


def fill(home: Path, ratings: int) -> None:
    """A store with so many thumbs, each on an answer of its own; ten answers a conversation."""
    chance = random.Random(20261124)
    store = open_store(home)
    tables = Tables.metadata.tables
    with store.session() as session:
        session.execute(insert(tables["people"]), [{"id": "ann", "name": "ann", "consent": True, "created": BEGUN}])
    numbers = iter(range(ratings))
    while block := list(islice(numbers, 20_000)):
        conversations, generations, thumbs = [], [], []
        for number in block:
            at = BEGUN + timedelta(seconds=number)
            if number % 10 == 0:
                conversation = {"id": f"{number:016x}", "person_id": "ann", "surface": "page", "created": at}
                conversations.append(conversation)
            # Ids are random, as in a real store: they do not lie in the order in which they were given.
            id = f"gen-{chance.getrandbits(96):024x}"
            tokens = {"token_ids": list(range(24)), "logprobs": [-0.5] * 24, "sampling": {"temperature": 0.8}}
            generations.append(
                tokens
                | {"id": id, "person_id": "ann", "conversation_id": conversation["id"], "text": words(chance, 24)}
                | {"messages": [{"role": "user", "content": words(chance, 12)}], "finish_reason": "stop"}
                | {"surface": "page", "latency": 0.1, "created": at}
            )
            opinion = {"generation_id": id, "person_id": "ann", "kind": "thumb", "value": chance.choice([1, -1])}
            thumbs.append(opinion | {"withdrawn": False, "surface": "page", "created": at})
        with store.session() as session:
            for table, rows in (("conversations", conversations), ("generations", generations), ("ratings", thumbs)):
                if rows:
                    session.execute(insert(tables[table]), rows)
    store.close()


def measure(home: Path, out: Path, options: list[str]) -> dict[str, Any]:
    """One export: its report, seconds and the most memory that its process held, in MB."""
    command = [sys.executable, "-m", "ratchet", "export", str(out), "--as", "unpaired", "--home", str(home), "--json"]
    begun = time.monotonic()
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begun
    report = json.loads(printed.splitlines()[-1])
    if process.returncode:
        raise SystemExit(f"the export failed: {report}")
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "rows": report["rows"],
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "rows_per_second": report["rows"] / seconds,
        "peak_mb": usage.ru_maxrss / scale,
        "file_mb": out.stat().st_size / 2**20,
        "scrubbed": report["scrubbed"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the store and the exports are made [a temporary folder]")
    chosen = parser.parse_args()
    machine = {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    versions = {name: version(name) for name in ("sqlalchemy", "pyarrow", "phonenumberslite", "python-stdnum")}
    print(f"{machine} {versions}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        # In a process of its own: a child's peak counts from what its parent holds when it is started.
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(folder / "home", chosen.ratings))
        filling.start()
        filling.join()
        if filling.exitcode:
            raise SystemExit("the store could not be filled")
        print(f"filled with {chosen.ratings} thumbs in {time.monotonic() - begun:.0f} s")
        rows = []
        for name, out, options in RUNS:
            row = {"run": name} | measure(folder / "home", folder / out, options)
            rows.append(row)
            print(
                f"{name:<26} {row['rows']} rows, {row['seconds']:.1f} s, "
                f"{row['processor_seconds']:.1f} s of processor, "
                f"{row['rows_per_second']:,.0f} rows/s, peak {row['peak_mb']:.0f} MB, file {row['file_mb']:.0f} MB",
                flush=True,
            )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine, "versions": versions, "ratings": chosen.ratings, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
