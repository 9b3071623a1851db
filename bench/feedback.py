"""How many ratings a second the API acknowledges, each on disk before its answer leaves.

    python bench/feedback.py [--clients 16] [--seconds 20] [--url DATABASE] [--alone]

Starts `ratchet serve` with the starter in an empty home, has it answer a few prompts through the API, then lets the
clients rate those answers over connections that stay open, each sending its next rating when the last is acknowledged.
Afterwards every acknowledged rating is looked for in the store. Prints ratings a second and the median and the 99th
percentile of the waits; writes bench/results/feedback.json. The clients share the machine with the server.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from importlib.metadata import version
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from store.database import open_store
from store.schema import Rating

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench/results/feedback.json"
PATIENCE = 120  # seconds for the server to come up
ANSWERS = 8  # generations that are rated
ALONE = "import ratchet, store.group; store.group.LIMIT = 1; ratchet.main()"
PROCESSES = 2  # that the clients are spread over


def call(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON body, read a JSON answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.load(answer)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(said)
    return dict(said)


def client(port: int, generations: list[str], name: str, until: float, waits: list[float], ids: list[int]) -> None:
    """Rate until the time is over; adds each wait, in seconds, and each acknowledged rating's id."""
    # Bytes of HTTP by hand: a client library would take more of the machine than the server does.
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    turn = 0
    while time.monotonic() < until:
        opinion = {"id": generations[turn % len(generations)], "kind": "thumb", "value": 1 - 2 * (turn % 2)}
        body = json.dumps(opinion | {"user": name}).encode()
        begun = time.monotonic()
        link.sendall(
            b"POST /v1/feedback HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (port, len(body), body)
        )
        said = b""
        while True:
            said += link.recv(65536)
            head, found, rest = said.partition(b"\r\n\r\n")
            if found:
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                if len(rest) >= length:
                    break
        waits.append(time.monotonic() - begun)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(said)
        ids.append(json.loads(rest)["id"])
        turn += 1


def crowd(port: int, generations: list[str], names: list[str], seconds: float, told: Queue[Any]) -> None:
    """Several clients, a thread each."""
    waits: list[float] = []
    ids: list[int] = []
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=client, args=(port, generations, name, until, waits, ids)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    told.put((waits, ids))


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors so far."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def measure(clients: int, seconds: float, url: str | None, alone: bool) -> dict[str, Any]:
    """One server, one crowd."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        start = ["-c", ALONE] if alone else ["-m", "ratchet"]
        command = [sys.executable, *start, "serve", "--port", str(port), "--home", home]
        environment = os.environ | ({"RATCHET_DATABASE_URL": url} if url else {})
        environment["RATCHET_CHAT_RATINGS_PER_MINUTE"] = "0"  # the clients are few, and rate without a pause
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
        try:
            begun = time.monotonic()
            ask = {"messages": [{"role": "user", "content": "What is 12 + 8?"}]}
            generations = []
            while len(generations) < ANSWERS:
                try:
                    generations.append(str(call(port, "/v1/chat/completions", ask)["id"]))
                except OSError:
                    if process.poll() is not None or time.monotonic() - begun > PATIENCE:
                        raise
                    time.sleep(0.1)
            told: Queue[Any] = Queue()
            names = [f"person {number}" for number in range(clients)]
            crowds = [
                Process(target=crowd, args=(port, generations, names[place::PROCESSES], seconds, told))
                for place in range(PROCESSES)
            ]
            begun, worked = time.monotonic(), processor_seconds(process.pid)
            for each in crowds:
                each.start()
            results = [told.get() for _ in crowds]
            took, worked = time.monotonic() - begun, processor_seconds(process.pid) - worked
            for each in crowds:
                each.join()
        finally:
            process.terminate()
            process.wait()
        waits = sorted(wait for some, _ in results for wait in some)
        ids = {id for _, some in results for id in some}
        store = open_store(Path(home), url)
        with store.session(reading=True) as session:
            kept_ids = set(session.scalars(select(Rating.id)))
        database = store.engine.dialect.name
        store.close()
    return {
        "database": database,
        "grouped": not alone,
        "clients": clients,
        "seconds": round(took, 2),
        "acknowledged": len(waits),
        "kept": len(kept_ids),
        "lost": len(ids - kept_ids),
        "per_second": round(len(waits) / took, 1),
        "server_cpu_ms": round(worked / len(waits) * 1000, 3),
        "p50_ms": round(statistics.median(waits) * 1000, 2),
        "p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 2),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--url", help="an empty PostgreSQL database [SQLite]")
    parser.add_argument("--alone", action="store_true", help="one commit a rating, to compare with")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    row = measure(chosen.clients, chosen.seconds, chosen.url, chosen.alone)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("sqlalchemy", "fastapi", "uvicorn")}
    versions["sqlite"] = sqlite3.sqlite_version
    # One row a way of running: the other ways' rows are kept.
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    rows = [each for each in rows if any(each[key] != row[key] for key in ("database", "grouped"))] + [row]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"machine": machine, "versions": versions, "rows": rows}, indent=1) + "\n")
    print(f"{machine} {versions}")
    print(
        "{database}, grouped: {grouped}, {clients} clients, {seconds} s: {per_second} ratings/s acknowledged, "
        "p50 {p50_ms} ms, p99 {p99_ms} ms, {server_cpu_ms} ms of the server's processor a rating, lost {lost}".format(
            **row
        )
    )


if __name__ == "__main__":
    main()
