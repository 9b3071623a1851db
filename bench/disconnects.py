"""Clients that leave midway: do the others get whole answers, and is what they held free at once?

    python bench/disconnects.py [--clients 200] [--waves 5]

`ratchet serve` on the starter. In every wave all clients stream at once; half of them hang up midway through an answer
four times as long as the others'. Counted are the others' answers that are not whole: an error, a missing end, or
another text than the same question got before, alone. After the last client has left or been answered, GET /metrics
tells when no request runs or waits any more; if leavers' answers went on, that would be many seconds later. Resident
memory of the server is read before the first wave and after each. Prints both, writes bench/results/disconnects.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from clients import Crowd, Told
from machine import keep, machine
from questions import questions
from servers import Server, serve_ratchet

from lm.loading import load_base

RUNNING, WAITING = "ratchet_requests_running", "ratchet_requests_waiting"  # gauges
AIM = 1.0  # seconds until all is free
PATIENCE = 30  # seconds to wait for it
PROMPTS = 16
LONGER = 4  # times the others' answers
SOONEST, LATEST = 1, 3  # pieces after which they leave; tokens come several in a piece


@dataclass(frozen=True)
class Reading:
    """The gauges, and when the server had told them."""

    at: float
    running: float
    waiting: float


def read_gauges(server: Server) -> Reading:
    """RuntimeError if a gauge is not there."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for name in (RUNNING, WAITING):
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name]
        if not values:
            raise RuntimeError(f"GET /metrics tells no {name}")
        found[name] = sum(values)
    return Reading(time.monotonic(), found[RUNNING], found[WAITING])


def wave(server: Server, crowd: Crowd, bodies: list[dict[str, Any]], leave: list[int]) -> tuple[list[Told], float, int]:
    """All clients at once: what they were told, seconds until all was free after the last, most that ran at a time."""
    readings: list[Reading] = []
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(crowd.ask, server.url, bodies, leave)
        while not asked.done():
            readings.append(read_gauges(server))
            time.sleep(0.02)
        told = asked.result()
    last = max(each.ended for each in told)
    while not (free := [each for each in readings if each.at >= last and not each.running and not each.waiting]):
        if time.monotonic() > last + PATIENCE:
            raise RuntimeError(f"{PATIENCE} s after the last client: {readings[-1]}")
        readings.append(read_gauges(server))
        time.sleep(0.02)
    return told, free[0].at - last, int(max(each.running for each in readings))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--waves", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=64, help="of those who stay")
    chosen = parser.parse_args()
    facts = machine("torch", "transformers", "fastapi", "uvicorn")
    print(f"{facts['machine']} {facts['versions']}")
    chats = questions(load_base("starter", device="cpu", dtype="float32"), PROMPTS, seed=9)
    random = Random(0)
    rows = []
    settings = {"RATCHET_DTYPE": "float32", "RATCHET_DEVICE": "cpu"}
    with (
        tempfile.TemporaryDirectory() as home,
        serve_ratchet(Path(home), environment=settings) as server,
        Crowd() as crowd,
    ):
        asked = {"model": server.model, "stream": True, "temperature": 0, "ignore_eos": True}
        asked |= {"max_tokens": chosen.new_tokens, "stream_options": {"include_usage": True}}
        alone = [crowd.ask(server.url, [asked | {"messages": chat}])[0].text for chat in chats]
        memory = [server.memory]
        for number in range(chosen.waves):
            leave = [random.randint(SOONEST, LATEST) * (place % 2) for place in range(chosen.clients)]
            bodies = [
                asked
                | {
                    "messages": chats[place % PROMPTS],
                    "max_tokens": chosen.new_tokens * (LONGER if leave[place] else 1),
                }
                for place in range(chosen.clients)
            ]
            told, freed, most = wave(server, crowd, bodies, leave)
            memory.append(server.memory)
            stayed = [each for each, pieces in zip(told, leave, strict=True) if not pieces]
            whole = [each for each in stayed if each.finish and not each.error and each.tokens == chosen.new_tokens]
            row = {
                "left": sum(each.hung_up for each in told),
                "stayed": len(stayed),
                "broken": len(stayed) - len(whole),
                "reasons": sorted({str(each.error or f"{each.finish} after {each.tokens}") for each in stayed
                                   if each not in whole}),
                "garbled": sum(each.text != alone[each.number % PROMPTS] for each in whole),
                "free_after_seconds": freed,
                "most_running": most,
                "resident_mb": round(memory[-1], 1),
            }  # fmt: skip
            rows.append(row)
            print(
                f"wave {number + 1}: {row['left']} left midway, {row['stayed']} stayed; {row['broken']} of them broken "
                f"{row['reasons']}, {row['garbled']} garbled; all free {freed:.2f} s after the last, aim at most "
                f"{AIM} s; at most {most} ran; resident {memory[-1]:.0f} MB"
            )
    print(f"resident before {memory[0]:.0f} MB, after the first wave {memory[1]:.0f}, after the last {memory[-1]:.0f}")
    keep("disconnects", facts | {"clients": chosen.clients, "resident_mb_before": round(memory[0], 1), "waves": rows})


if __name__ == "__main__":
    main()
