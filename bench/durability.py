"""Is an acknowledged rating ever lost? A writer is killed again and again, and what it had acknowledged is looked for.

    python bench/durability.py [--kills 200] [--threads 4] [--seed 0]

Each round starts a process in which several threads rate through the group commit that the API uses, each printing a
rating's id once it is committed, and kills it with SIGKILL at a random moment. Then every printed id must be in the
database with its own text, and SQLite's own check of the file must pass. All rounds work on one store. Prints ratings
acknowledged, lost and torn (in the database, but not as they were given); writes bench/results/durability.json.

A killed process is not a machine without power: that nothing is lost then either rests on SQLite's synchronous=FULL and
on a disk that does what it is told.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from store.conversations import new_conversation, person, record_generation
from store.database import open_store
from store.versions import ensure_base

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench/results/durability.json"
WRITER = """
import sys, threading
from itertools import count
from pathlib import Path
from store.database import open_store
from store.group import Group
from store.ratings import rate

home, generation, person, round, threads = sys.argv[1:]
store = open_store(Path(home))
group = Group(store)
lock = threading.Lock()

def write(number):
    for turn in count():
        text = f"round {round}, thread {number}, turn {turn}"
        id = group.submit(lambda session: rate(session, generation_id=generation, person_id=person, kind="comment",
                                               value=text, surface="api").id).result()
        with lock:
            print(id, text, flush=True)

for number in range(int(threads)):
    threading.Thread(target=write, args=(number,)).start()
"""


@dataclass(frozen=True)
class Losses:
    """What a number of kills did: ratings acknowledged, of those missing, and of those present but different."""

    kills: int
    acknowledged: int
    lost: int
    torn: int
    integrity: str


def kill_writers(home: Path, kills: int, threads: int, seed: int) -> Losses:
    """Kill a writer `kills` times in the store at `home`, which is made if missing, and look for what it said."""
    store = open_store(home)
    with store.session() as session:
        ensure_base(session, "starter", "abc")
        ann = person(session, None, "ann").id
        answer = record_generation(
            session,
            person_id=ann,
            conversation_id=new_conversation(session, ann, "api").id,
            messages=[{"role": "user", "content": "Hello?"}],
            version_id=0,
            adapter_hash=None,
            sampling={},
            token_ids=[],
            logprobs=[],
            text="Hi.",
            finish_reason="stop",
            surface="api",
            latency=0.1,
        ).id
    store.close()
    chance = random.Random(seed)
    said: dict[int, str] = {}
    integrity: set[str] = set()
    for number in range(kills):
        command = [sys.executable, "-c", WRITER, str(home), answer, ann, str(number), str(threads)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.25))
            writer.send_signal(signal.SIGKILL)
            # A line without its end was cut off by the kill: nobody could have read it as an acknowledgement.
            lines = [line for line in [first, *writer.stdout] if line.endswith("\n")]
            if writer.wait() != -signal.SIGKILL:
                raise RuntimeError("the writer ended by itself")
        for line in lines:
            id, _, text = line.strip().partition(" ")
            said[int(id)] = text
        with closing(sqlite3.connect(home / "ratchet.db")) as connection:
            integrity.update(row[0] for row in connection.execute("PRAGMA integrity_check"))
    with closing(sqlite3.connect(home / "ratchet.db")) as connection:
        kept = {id: json.loads(value) for id, value in connection.execute("SELECT id, value FROM ratings")}
    return Losses(
        kills,
        len(said),
        sum(id not in kept for id in said),
        sum(id in kept and kept[id] != text for id, text in said.items()),
        ", ".join(sorted(integrity)),
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        losses = kill_writers(Path(home), chosen.kills, chosen.threads, chosen.seed)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    versions = {"sqlalchemy": version("sqlalchemy"), "sqlite": sqlite3.sqlite_version}
    result = {"machine": machine, "versions": versions, "threads": chosen.threads} | vars(losses)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{machine} {versions}")
    print(
        f"{losses.kills} kills, {chosen.threads} threads, {time.monotonic() - begun:.0f} s: "
        f"{losses.acknowledged} ratings acknowledged, {losses.lost} lost, {losses.torn} torn, "
        f"integrity {losses.integrity}"
    )
    if losses.lost or losses.torn or losses.integrity != "ok":
        raise SystemExit(1)


if __name__ == "__main__":
    main()
