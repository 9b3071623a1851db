"""What do sixteen honest people notice while a stranger floods the server?

    python bench/strangers.py [--seconds 10] [--clients 16] [--model FOLDER]

Honest clients, each at an address of its own, ask for short answers and rate them. Meanwhile a stranger at one other
address, another for each attack, sends requests of 30,000 messages; rates under invented names; or asks for eight
choices at once under invented names. Printed and written to bench/results/strangers.json: seconds of a short chat
(median, 95th percentile) alone and under each attack, the ratio of the percentiles, ratings lost (given and not in the
store), refusals that honest people met, and what the stranger got.

Loopback is no door of its own, whatever its address, so the server takes this machine for a proxy that it trusts, and
each client says by `X-Forwarded-For` where it is. Server, honest clients and stranger are processes of their own; on
two processors the stranger's own work is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
from loop import server
from machine import keep, machine
from sqlalchemy import select

from store.database import Store, open_store
from store.schema import Person, Rating

STRANGERS = "198.51.100."  # the strangers' network
HONEST = "203.0.113."  # the honest clients' network
PAUSE = 0.5  # seconds that an honest person reads before the next question

HUGE = json.dumps({"messages": [{"role": "user", "content": "a"}] * 30_000}).encode()

Attack = Callable[[httpx.AsyncClient, int, str], Awaitable[httpx.Response]]


def client(url: str, address: str) -> httpx.AsyncClient:
    """A client that the server takes to be at `address`."""
    limits = httpx.Limits(max_connections=64)
    return httpx.AsyncClient(base_url=url, headers={"X-Forwarded-For": address}, limits=limits, timeout=120)


async def huge(at: httpx.AsyncClient, number: int, answer: str) -> httpx.Response:
    """A conversation of 30,000 messages."""
    return await at.post("/v1/chat/completions", content=HUGE, headers={"Content-Type": "application/json"})


async def sybils(at: httpx.AsyncClient, number: int, answer: str) -> httpx.Response:
    """A rating by somebody invented."""
    body = {"id": answer, "kind": "thumb", "value": -1, "user": f"invented {number}"}
    return await at.post("/v1/feedback", json=body)


async def choices(at: httpx.AsyncClient, number: int, answer: str) -> httpx.Response:
    """Eight long answers for somebody invented."""
    body = {"messages": [{"role": "user", "content": "Tell me all."}], "n": 8, "max_tokens": 200, "ignore_eos": True}
    return await at.post("/v1/chat/completions", json=body | {"user": f"asking {number}"})


# What the stranger sends, and how many at a time.
ATTACKS: dict[str, tuple[Attack | None, int]] = {
    "nobody": (None, 0),
    "30,000 messages": (huge, 2),
    "invented raters": (sybils, 8),
    "n=8, invented names": (choices, 20),
}


async def chat_and_rate(url: str, number: int, until: float, name: str) -> tuple[list[float], list[str], Counter[str]]:
    """One honest person: seconds of each answer, ratings that were acknowledged, and what was refused."""
    times, rated, refused = [], [], Counter[str]()
    async with client(url, f"{HONEST}{number + 1}") as at:
        await asyncio.sleep(PAUSE * number / 16)  # not all at once
        while time.perf_counter() < until:
            began = time.perf_counter()
            body = {"messages": [{"role": "user", "content": "What is 12 + 8?"}], "max_tokens": 8, "user": name}
            told = await at.post("/v1/chat/completions", json=body)
            if told.status_code != 200:
                refused[f"chat {told.status_code}"] += 1
            else:
                times.append(time.perf_counter() - began)
                answer = told.json()["id"]
                rating = await at.post("/v1/feedback", json={"id": answer, "kind": "thumb", "value": 1, "user": name})
                if rating.status_code == 200:
                    rated.append(answer)
                else:
                    refused[f"rating {rating.status_code}"] += 1
            await asyncio.sleep(PAUSE)
    return times, rated, refused


def stranger(url: str, number: int, seconds: float) -> Counter[str]:
    """The attack of this number, for so many seconds: how many requests ended how."""
    attack, width = list(ATTACKS.values())[number]
    return asyncio.run(attacked(url, attack, width, f"{STRANGERS}{number}", seconds)) if attack else Counter()


async def attacked(url: str, attack: Attack, width: int, address: str, seconds: float) -> Counter[str]:
    """So many at a time, from this address."""
    ends: Counter[str] = Counter()
    until = time.perf_counter() + seconds
    numbers = itertools.count()
    async with client(url, address) as at:
        first = await at.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        )
        answer = first.json().get("id", "")

        async def one() -> None:
            while time.perf_counter() < until:
                ends[str((await attack(at, next(numbers), answer)).status_code)] += 1

        await asyncio.gather(*(one() for _ in range(width)))
    return ends


def lost(store: Store, given: list[tuple[str, str]]) -> int:
    """How many of the (person's name, answer) that were acknowledged are not in the store."""
    with store.session(reading=True) as session:
        rows = session.execute(select(Person.name, Rating.generation_id).join(Person, Person.id == Rating.person_id))
        kept = {(name, answer) for name, answer in rows}
    return len(set(given) - kept)


async def measure(url: str, store: Store, clients: int, seconds: float, pool: Executor) -> list[dict[str, Any]]:
    """A row for each attack."""
    rows: list[dict[str, Any]] = []
    for place, what in enumerate(ATTACKS):
        until = time.perf_counter() + seconds
        attacking = asyncio.get_running_loop().run_in_executor(pool, stranger, url, place, seconds)
        honest = await asyncio.gather(*(chat_and_rate(url, n, until, f"honest {n}") for n in range(clients)))
        times = sorted(itertools.chain.from_iterable(each for each, _, _ in honest))
        given = [(f"honest {n}", answer) for n, (_, rated, _) in enumerate(honest) for answer in rated]
        row = {
            "attack": what,
            "chats": len(times),
            "median": statistics.median(times),
            "p95": times[min(len(times) - 1, int(0.95 * len(times)))],
            "ratings": len(given),
            "lost": lost(store, given),
            "refused": dict(sum((each for _, _, each in honest), Counter[str]())),
            "stranger": dict(await attacking),
        }
        row["ratio"] = row["p95"] / (rows[0] if rows else row)["p95"]
        rows.append(row)
        print(
            f"{what:22} {row['chats']:4} chats, median {row['median']:.2f} s, p95 {row['p95']:.2f} s, "
            f"ratio {row['ratio']:.2f}; {row['ratings']} ratings, {row['lost']} lost; refused {row['refused']}; "
            f"the stranger got {row['stranger']}",
            flush=True,
        )
    return rows


def main() -> None:
    """Serve, attack, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each attack lasts")
    parser.add_argument("--clients", type=int, default=16, help="honest people")
    parser.add_argument("--model", default="starter", help="as for ratchet serve")
    given = parser.parse_args()
    ran_on = machine("torch", "fastapi", "uvicorn", "sqlalchemy")
    print(ran_on["machine"], ran_on["versions"])
    os.environ["RATCHET_CHAT_TRUSTED_PROXIES"] = "127.0.0.1"
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder), given.model) as url,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        pool.submit(int).result()  # it has started
        store = open_store(Path(folder))
        rows = asyncio.run(measure(url, store, given.clients, given.seconds, pool))
        store.close()
    keep("strangers", ran_on | {"seconds": given.seconds, "clients": given.clients, "rows": rows})


if __name__ == "__main__":
    main()
