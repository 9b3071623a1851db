"""What a change of the version that serves does to the streams under way, and what many changes do to memory.

    python bench/swaps.py [--swaps 100] [--streams 16] [--installs 1000]

First over HTTP: `ratchet serve` on the starter and two versions of it, promoted in turn as `ratchet promote` does while
clients hold the streams open, each asking the next question when its last answer has ended. Half the requests are
greedy, half are drawn from a seed. Counted are the streams dropped (an error, or no end), and those whose text is not
what the version named by their `model` field gave before, alone or in company: sums of many rows are rounded otherwise,
and where two tokens are as likely either may come. So it is the store that proves what was garbled: the log-probability
of every stored answer is computed again by its own version, and must be what the engine wrote down. The longest gap
between two pieces of a stream is told for the time of the swaps and for as long without any.

Then in this process: versions installed and removed one after the other under running streams, each used by some, amid
them adapters that are damaged and must be refused. Resident memory at every tenth, and its slope.

Prints both, writes bench/results/swaps.json. `--swaps 0` and `--installs 0` leave one out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import urllib.request
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import psutil
import torch
from clients import Crowd, Told
from machine import keep, machine
from questions import questions
from servers import Server, serve_ratchet
from sqlalchemy import select
from variants import random_adapter

from lm.adapters import WEIGHTS, Adapter, read_adapter, write_adapter
from lm.engine import Engine
from lm.loading import Base, load_base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from lm.stream import Stream
from problems import Problem
from store.database import open_store
from store.schema import Generation, Version
from store.versions import add_version, ensure_base, promote

PATIENCE = 20  # seconds for a promotion to be seen
PROMPTS = 16
MARKS = 10  # readings of the memory
UNDER_WAY = 8  # streams in the engine while versions come and go


def two_versions(home: Path, base: Base) -> list[int]:
    """Put two versions into a new store."""
    store = open_store(home)
    with store.session() as session:
        ensure_base(session, base.id, base.fingerprint)
    numbers = []
    for seed in (1, 2):
        folder = f"versions/{seed}"
        digest = write_adapter(home / folder, random_adapter(base, seed), base)
        with store.session() as session:
            version = add_version(
                session, parent=0, adapter=folder, adapter_hash=digest, update_id=None, dataset_hash=None, report={}
            )
            numbers.append(version.id)
    store.close()
    return numbers


def serving(server: Server) -> int:
    """The version that the server says it serves."""
    with urllib.request.urlopen(f"{server.url}/healthz", timeout=PATIENCE) as answer:
        return int(json.load(answer)["version"])


def requests(base: Base, new_tokens: int) -> list[dict[str, Any]]:
    """Half of them greedy, half seeded; with log-probabilities, so that pieces without a letter are told too."""
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    asked = {"max_tokens": new_tokens, "ignore_eos": True, "logprobs": True} | usage
    return [
        asked | {"messages": chat, "temperature": place % 2 * 0.8, "seed": place}
        for place, chat in enumerate(questions(base, PROMPTS, seed=7))
    ]


def swap_under_streams(base: Base, swaps: int, streams: int, new_tokens: int, poll: float) -> dict[str, Any]:
    """The part over HTTP."""
    bodies = requests(base, new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        versions = two_versions(home, base)
        settings = {"RATCHET_CHAT_POLL_SECONDS": str(poll), "RATCHET_DTYPE": "float32", "RATCHET_DEVICE": "cpu"}
        with serve_ratchet(home, environment=settings) as server, Crowd() as crowd:
            expected: dict[tuple[str, int], set[str]] = {}
            for name in [f"{server.model}@{number}" for number in (0, *versions)]:
                asked = [body | {"model": name} for body in bodies]
                alone = [told for body in asked for told in crowd.ask(server.url, [body])]
                for told, together in zip(alone, crowd.ask(server.url, asked), strict=True):
                    for each in (told, together):
                        if each.error or each.model != name:
                            raise RuntimeError(f"{name} answered as {each.model}: {each.error}")
                    # A product of one row is summed in another order than one of many, and a tie may fall otherwise.
                    expected[name, together.number] = {told.text, together.text}
            names = {name for name, _ in expected}
            differing = sum(
                not any(expected[one, n] & expected[other, n] for one in names for other in names - {one})
                for n in range(PROMPTS)
            )
            uneven = sum(len(texts) > 1 for texts in expected.values())
            named = [body | {"model": server.model} for body in bodies]
            crowd.keep_asking(server.url, named, streams)
            store = open_store(home)
            waits = []
            begun = time.monotonic()
            for turn in range(swaps):
                version = versions[turn % len(versions)]
                with store.session() as session:
                    promote(session, version, "bench", "to see it serve")
                promoted = time.monotonic()
                while serving(server) != version:
                    if time.monotonic() > promoted + PATIENCE:
                        raise RuntimeError(f"version {version} does not serve {PATIENCE} s after its promotion")
                    time.sleep(0.01)
                waits.append(time.monotonic() - promoted)
            took = time.monotonic() - begun
            store.close()
            swapped = crowd.stop()
            crowd.keep_asking(server.url, named, streams)
            time.sleep(took)  # as long without a swap, what serves unchanged
            calm = crowd.stop()
        checked, off = computed_again(home, base)
    return {
        "answers_computed_again": checked,
        "largest_difference_in_nats_a_token": off,
        "swaps": swaps,
        "streams": streams,
        "new_tokens": new_tokens,
        "seconds": took,
        "prompts_that_tell_versions_apart": f"{differing} of {PROMPTS}",
        "answers_that_company_changes": f"{uneven} of {len(expected)}",
        "seen_after_seconds": {"median": statistics.median(waits), "most": max(waits)},
        "with_swaps": judged(swapped, expected, new_tokens),
        "without": judged(calm, expected, new_tokens),
    }


def computed_again(home: Path, base: Base) -> tuple[int, float]:
    """How many answers the store holds, and the largest difference of an answer's mean log-probability to that which
    its version's adapter gives.
    """
    store = open_store(home)
    answers: dict[int, list[Generation]] = {}
    with store.session(reading=True) as session:
        folders = {row.id: row.adapter for row in session.scalars(select(Version))}
        for answer in session.scalars(select(Generation).where(Generation.finish_reason == "length")):
            answers.setdefault(answer.version_id or 0, []).append(answer)
        session.expunge_all()
    store.close()
    off, engine = 0.0, Engine(base, EngineSettings())
    for version, theirs in answers.items():
        if folders[version]:
            engine.install(str(version), read_adapter(home / folders[version], base))
        prompts = [encode_chat(base, answer.messages) for answer in theirs]
        sums = engine.likelihood(prompts, [answer.token_ids for answer in theirs], str(version))
        for answer, found in zip(theirs, sums, strict=True):
            off = max(off, abs(sum(answer.logprobs) - found) / len(answer.token_ids))
    return sum(map(len, answers.values())), off


def judged(told: list[Told], expected: dict[tuple[str, int], set[str]], new_tokens: int) -> dict[str, Any]:
    """Count what went wrong, and find the longest gap."""
    dropped = [each for each in told if each.error or each.finish is None or each.tokens != new_tokens]
    whole = [each for each in told if each not in dropped]
    garbled = [each for each in whole if each.text not in expected[each.model, each.number]]
    others = [
        each for each in garbled
        if any(each.text in texts for (_, n), texts in expected.items() if n == each.number)
    ]  # fmt: skip
    gaps = sorted(each.gap for each in whole)
    return {
        "answers": len(told),
        "by_version": {name: sum(each.model == name for each in whole) for name in sorted({e.model for e in whole})},
        "dropped": len(dropped),
        "other_text": len(garbled),
        "of_them_another_versions_answer": len(others),
        "reasons": sorted({str(each.error or f"{each.finish} after {each.tokens}") for each in dropped}),
        "gap_ms": {"median_of_longest": statistics.median(gaps) * 1000, "longest": gaps[-1] * 1000} if gaps else {},
    }


def install_many(base: Base, installs: int) -> dict[str, Any]:
    """The part in this process."""
    process = psutil.Process()
    sampling = Sampling(temperature=0.0, max_tokens=24, ignore_eos=True)
    prompts = [encode_chat(base, chat) for chat in questions(base, PROMPTS, seed=8)]
    adapters = [random_adapter(base, seed) for seed in range(4)]
    memory: list[float] = []
    failed: list[str] = []
    refused = wrong = 0
    every = max(1, installs // MARKS)
    with tempfile.TemporaryDirectory() as folder, Engine(base, EngineSettings()) as engine:
        damaged = Path(folder) / "damaged"
        write_adapter(damaged, adapters[0], base)
        (damaged / WEIGHTS).write_bytes((damaged / WEIGHTS).read_bytes()[:-100])
        not_finite = broken(adapters[0])
        streams: deque[tuple[int, Stream]] = deque()
        alone = []  # each adapter's answer to the prompt that it is always asked
        for which, adapter in enumerate(adapters):
            engine.install("alone", adapter)
            alone += [done.token_ids for done in engine.generate([prompts[which]], sampling, "alone")]
        engine.remove("alone")
        begun = time.monotonic()
        for turn in range(installs):
            which = turn % len(adapters)
            engine.install(f"v{turn}", adapters[which])
            streams.append((which, engine.submit(prompts[which], sampling, f"v{turn}")))
            if turn % every == every // 2:
                serves = engine.versions()
                refused += refuses(engine, base, damaged, not_finite)
                if engine.versions() != serves:
                    raise RuntimeError("an adapter that was refused changed what is installed")
            if turn:
                engine.remove(f"v{turn - 1}")
            while len(streams) > (UNDER_WAY if turn < installs - 1 else 0):
                which, stream = streams.popleft()
                try:
                    for _ in stream:
                        pass
                    wrong += stream.completion.token_ids != alone[which]
                except Exception as error:  # counted and told
                    failed.append(f"{type(error).__name__}: {error}")
            if (turn + 1) % every == 0:
                memory.append(process.memory_info().rss / 1e6)
        seconds = time.monotonic() - begun
    later = memory[1:]  # the first tenth still fills caches
    slope = statistics.linear_regression(range(len(later)), later).slope if len(later) > 1 else None
    return {
        "installs": installs,
        "streams_under_way": UNDER_WAY,
        "seconds": seconds,
        "failed": len(failed),
        "reasons": sorted(set(failed)),
        "wrong": wrong,
        "damaged_refused": f"{refused} of {2 * len(range(every // 2, installs, every))}",
        "resident_mb": [round(each, 1) for each in memory],
        "mb_per_100_after_the_first_tenth": None if slope is None else slope * 100 / every,
    }


def broken(adapter: Adapter) -> Adapter:
    """The same with one NaN."""
    path, (a, b) = next(iter(adapter.weights.items()))
    worse = b.clone()
    worse[0, 0] = torch.nan
    return replace(adapter, weights=adapter.weights | {path: (a, worse)})


def refuses(engine: Engine, base: Base, damaged: Path, not_finite: Adapter) -> int:
    """How many of the two bad adapters are refused."""
    refused = 0
    try:
        engine.install("bad", read_adapter(damaged, base))
    except Problem:
        refused += 1
    try:
        engine.install("bad", not_finite)
    except Problem:
        refused += 1
    return refused


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=160, help="of an answer, so that it outlasts a swap")
    parser.add_argument("--poll", type=float, default=0.2, help="seconds between the server's looks at the store")
    parser.add_argument("--installs", type=int, default=1000)
    chosen = parser.parse_args()
    facts = machine("torch", "transformers", "fastapi", "uvicorn")
    print(f"{facts['machine']} {facts['versions']}")
    base = load_base("starter", device="cpu", dtype="float32")
    result: dict[str, Any] = dict(facts)
    if chosen.swaps:
        row = swap_under_streams(base, chosen.swaps, chosen.streams, chosen.new_tokens, chosen.poll)
        result["over_http"] = row
        print(
            f"{row['swaps']} swaps under {row['streams']} streams in {row['seconds']:.0f} s, each seen after "
            f"{row['seen_after_seconds']['median']:.2f} s (at most {row['seen_after_seconds']['most']:.2f}); "
            f"versions differ on {row['prompts_that_tell_versions_apart']} prompts; company changes "
            f"{row['answers_that_company_changes']} answers; {row['answers_computed_again']} stored answers computed "
            f"again by their versions: at most {row['largest_difference_in_nats_a_token']:.1e} nats a token off"
        )
        for name in ("with_swaps", "without"):
            each = row[name]
            gap = each["gap_ms"]
            print(
                f"  {name.replace('_', ' ')}: {each['answers']} answers {each['by_version']}, {each['dropped']} "
                f"dropped {each['reasons']}, {each['other_text']} of another text, "
                f"{each['of_them_another_versions_answer']} of them another version's; longest gap "
                f"{gap.get('longest', 0):.0f} ms, median of a stream's {gap.get('median_of_longest', 0):.0f} ms"
            )
    if chosen.installs:
        row = install_many(base, chosen.installs)
        result["in_process"] = row
        slope = row["mb_per_100_after_the_first_tenth"]
        print(
            f"{row['installs']} installs in {row['seconds']:.0f} s: resident {row['resident_mb']} MB, "
            f"{'-' if slope is None else format(slope, '.2f')} MB per 100; {row['failed']} streams "
            f"failed {row['reasons']}, {row['wrong']} wrong; damaged adapters refused: {row['damaged_refused']}"
        )
    keep("swaps", result)


if __name__ == "__main__":
    main()
