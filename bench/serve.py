"""How fast answers are generated, beside transformers on the same model and machine.

    python bench/serve.py [--models starter,90m,90m-bf16] [--streams 1,8,32] [--rounds 5] [--sides a,b,c,d]

The sides, one after the other in every round, each with the same prompts (30 to 120 tokens, new ones in every round),
greedy, the same number of new tokens, no end before them:

    a  transformers' `generate`, one request at a time
    b  Ratchet's engine in this process
    c  `ratchet serve` over HTTP, streaming
    d  `transformers serve` with continuous batching over HTTP, streaming

How tokens are counted: a by the length of what `generate` returns; b by the token ids of the completions; c and d by
the `usage` that the server itself reports at the end of each stream. c is told `ignore_eos`; d cannot be, and serves a
copy of the model whose configuration names no end token. The clients of c and d are the same process of clients.py.
Tokens a second are of the whole batch: generated tokens over the time from the first request to the last end. The time
to the first token runs from a request to the first text of its answer (for a, which does not queue, from its own turn).
The floor is the time of the bare matrix products that one step of the batch needs; share is a side's rate over it. The
bound counts the products of reading the prompts besides (512 tokens at a time, without the head): nobody is faster.
The other servers are loaded, and idle, while one side runs; what they use meanwhile is measured and told. What is
measured in this process runs in a thread that ends, so that OpenMP's threads are never more than the processors.
Prints a table, writes bench/results/serve.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: idle threads must not spin beside other sides
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # for all sides, as `ratchet` sets it

import torch
from clients import Crowd
from machine import keep, machine
from models import NAMES, Model, endless, make
from questions import questions
from servers import PAGED, Server, serve_ratchet, serve_transformers
from torch import nn
from torch.nn.functional import linear
from transformers.generation.streamers import BaseStreamer

from lm.engine import Engine
from lm.loading import Base, load_base
from lm.prompts import Message, encode_chat
from lm.settings import EngineSettings, Sampling
from lm.stream import Stream
from lm.threads import apart

SIDES = {
    "a": "generate, one at a time",
    "b": "engine in process",
    "c": "ratchet serve",
    "d": "transformers serve",
}
OURS, THEIRS = ("b", "c"), ("a", "d")
# Least ratios that are aimed at, by streams. Against d, the time to the first token is to be no longer besides.
AIMS_AGAINST_A = {"float32": {1: 1.0, 8: 4.5, 32: 9.0}, "bfloat16": {1: 1.1, 8: 5.5, 32: 9.0}}
AIMS_AGAINST_D = {8: 1.5, 32: 2.5}
REPEATS = 20
PIECE = 512  # prompt tokens read at a time, for the bound


@dataclass(frozen=True)
class Batch:
    """The requests of one round."""

    chats: list[list[Message]]
    prompts: list[list[int]]
    new_tokens: int


@dataclass(frozen=True)
class Run:
    """One side's round."""

    tokens: int
    seconds: float
    firsts: list[float]  # seconds to the first token, a request
    cpu: float  # seconds of processor of the side's process (the clients' not counted)


class FirstToken(BaseStreamer):
    """Notes when `generate` gives its first token."""

    def __init__(self) -> None:
        self.puts = 0
        self.at = 0.0

    def put(self, value: Any) -> None:
        self.puts += 1
        if self.puts == 2:  # the first one is the prompt
            self.at = time.monotonic()

    def end(self) -> None:
        pass


def one_at_a_time(base: Base, most: int, batch: Batch) -> Run:
    """Side a, on at most `most` of the requests: its rate does not depend on how many there are."""
    generate: Any = base.model.generate
    firsts, tokens = [], 0
    begun, cpu = time.monotonic(), time.process_time()
    for prompt in batch.prompts[:most]:
        turn, streamer = time.monotonic(), FirstToken()
        ids = torch.tensor([prompt])
        done = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            temperature=None,
            max_new_tokens=batch.new_tokens,
            min_new_tokens=batch.new_tokens,
            streamer=streamer,
        )
        tokens += done.shape[1] - len(prompt)
        firsts.append(streamer.at - turn)
    return Run(tokens, time.monotonic() - begun, firsts, time.process_time() - cpu)


def in_process(base: Base, batch: Batch) -> Run:
    """Side b: an engine of its own each round, so that its threads are gone while another side runs."""
    warm = [[*reversed(prompt), *prompt[:1] * batch.new_tokens] for prompt in batch.prompts]
    with apart(lambda: Engine(base, EngineSettings())) as engine:
        answer_all(engine, replace(batch, prompts=warm, new_tokens=1))
        return answer_all(engine, batch)


def answer_all(engine: Engine, batch: Batch) -> Run:
    """Every request of a batch, as streams."""
    sampling = Sampling(temperature=0.0, max_tokens=batch.new_tokens, ignore_eos=True)

    async def follow(stream: Stream, begun: float) -> float:
        first = 0.0
        async for delta in stream:
            if not first and delta.text:
                first = time.monotonic()
        return (first or time.monotonic()) - begun

    async def follow_all() -> tuple[list[Stream], list[float]]:
        begun = time.monotonic()
        streams = [engine.submit(prompt, sampling) for prompt in batch.prompts]
        return streams, await asyncio.gather(*(follow(stream, begun) for stream in streams))

    begun, cpu = time.monotonic(), time.process_time()
    streams, firsts = asyncio.run(follow_all())
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    return Run(sum(len(stream.completion.token_ids) for stream in streams), seconds, firsts, cpu)


def over_http(server: Server, crowd: Crowd, extra: dict[str, Any], batch: Batch) -> Run:
    """Sides c and d; RuntimeError if a stream fails or ends early."""
    asked = {"model": server.model, "stream": True, "temperature": 0, "max_tokens": batch.new_tokens} | extra
    cpu = server.cpu_seconds
    told = crowd.ask(server.url, [asked | {"messages": chat} for chat in batch.chats])
    cpu = server.cpu_seconds - cpu
    for each in told:
        if each.error or each.finish is None or each.tokens != batch.new_tokens:
            raise RuntimeError(f"a stream ended with {each.tokens} tokens, {each.finish}, {each.error}")
    seconds = max(each.ended for each in told) - min(each.begun for each in told)
    firsts = [(each.first or each.ended) - each.begun for each in told]
    return Run(sum(each.tokens for each in told), seconds, firsts, cpu)


@torch.inference_mode()
def products(base: Base, rows: int, *, head: bool) -> float:
    """Seconds of all linear layers' matrix products on `rows` rows, with or without the head: median of repeats."""
    last = base.model.get_output_embeddings()
    modules = [each for each in base.model.modules() if isinstance(each, nn.Linear) and (head or each is not last)]
    weights = [each.weight for each in modules]
    inputs = {size: torch.randn(rows, size, dtype=base.model.dtype) for size in {w.shape[1] for w in weights}}
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for weight in weights:
            linear(inputs[weight.shape[1]], weight)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def batch_of(base: Base, streams: int, new_tokens: int, seed: int) -> Batch:
    """New prompts."""
    chats = questions(base, streams, seed)
    return Batch(chats, [encode_chat(base, chat) for chat in chats], new_tokens)


def cell(
    base: Base, sides: dict[str, Callable[[Batch], Run]], failed: dict[str, str], streams: int, rounds: int, length: int
) -> dict[str, Any]:
    """Every side at one number of streams. A side that fails goes into `failed` with its reason and runs no more."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    steps, pieces, prompts = [], [], []
    seed = streams * 1000
    for turn in range(-1, rounds):  # the first one warms up
        batch = batch_of(base, streams, length if turn >= 0 else min(8, length), seed + turn)
        if turn >= 0:
            steps.append(apart(lambda: products(base, streams, head=True)))
            pieces.append(apart(lambda: products(base, PIECE, head=False)))
            prompts.append(sum(len(prompt) for prompt in batch.prompts))
        for name, side in sides.items():
            if name in failed:
                continue
            try:
                run = side(batch)
            except Exception as error:  # told in the table and in the result
                failed[name] = f"{type(error).__name__}: {error}"
                continue
            if turn >= 0:
                runs[name].append(run)
    step, prompt = statistics.median(steps), statistics.median(prompts)
    whole = step * length + statistics.median(pieces) * prompt / PIECE
    rates = {name: [run.tokens / run.seconds for run in some] for name, some in runs.items() if name not in failed}
    found: dict[str, Any] = {
        "streams": streams,
        "new_tokens": length,
        "prompt_tokens": prompt,
        "floor_tokens_per_second": streams / step,
        "bound_tokens_per_second": streams * length / whole,
    }
    found["sides"] = {name: {"failed": why} for name, why in failed.items()}
    for name, each in rates.items():
        firsts = sorted(first for run in runs[name] for first in run.firsts)
        found["sides"][name] = {
            "tokens_per_second": statistics.median(each),
            "all": each,
            "first_token_ms": {
                "median": statistics.median(firsts) * 1000,
                "p95": firsts[min(len(firsts) - 1, int(len(firsts) * 0.95))] * 1000,
            },
            "cpu_ms_per_token": sum(r.cpu for r in runs[name]) / sum(r.tokens for r in runs[name]) * 1000,
            "share_of_floor": statistics.median(each) * step / streams,
        }
    # A ratio is the median of the rounds' own ratios, so that a machine that slows down strikes both sides.
    found["ratios"] = {
        f"{ours}/{theirs}": statistics.median(x / y for x, y in zip(rates[ours], rates[theirs], strict=True))
        for ours in OURS
        for theirs in THEIRS
        if ours in rates and theirs in rates
    }
    return found


def idle_share(servers: Sequence[Server], seconds: float = 2.0) -> float:
    """Processors that the loaded servers use while nobody asks."""
    used = sum(server.cpu_seconds for server in servers)
    time.sleep(seconds)
    return (sum(server.cpu_seconds for server in servers) - used) / seconds


def measure(model: Model, name: str, wanted: Sequence[str], chosen: argparse.Namespace, room: Path) -> dict[str, Any]:
    """One model, every side, every number of streams."""
    base = apart(lambda: load_base(str(model.folder), device="cpu", dtype=model.dtype))
    sides: dict[str, Callable[[Batch], Run]] = {}
    failed: dict[str, str] = {}
    servers: list[Server] = []
    with ExitStack() as stack:
        crowd = stack.enter_context(Crowd())

        def add(side: str, start: Callable[[], Callable[[Batch], Run]]) -> None:
            if side in wanted:
                try:
                    sides[side] = start()
                except Exception as error:  # told in the table and in the result
                    failed[side] = f"{type(error).__name__}: {error}"

        def ours() -> Callable[[Batch], Run]:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = {"RATCHET_DTYPE": model.dtype, "RATCHET_DEVICE": "cpu"}
            servers.append(stack.enter_context(serve_ratchet(home, ("--model", str(model.folder)), settings)))
            extra = {"ignore_eos": True, "stream_options": {"include_usage": True}}
            return partial(over_http, servers[-1], crowd, extra)

        def theirs() -> Callable[[Batch], Run]:
            folder = endless(model.folder, room / f"{name}-endless")
            servers.append(stack.enter_context(serve_transformers(folder, model.dtype, chosen.theirs.split())))
            return partial(over_http, servers[-1], crowd, {})

        add("a", lambda: lambda batch: apart(lambda: one_at_a_time(base, chosen.alone, batch)))
        add("b", lambda: partial(in_process, base))
        add("c", ours)
        add("d", theirs)
        cells = []
        for streams in chosen.streams:
            length = chosen.new_tokens or model.new_tokens
            cells.append(cell(base, sides, failed, streams, chosen.rounds, length))
            tell(name, model.dtype, cells[-1])
        idle = idle_share(servers)
        print(f"{name}: the servers, idle, use {idle:.1%} of a processor")
    return {
        "model": name,
        "dtype": model.dtype,
        "parameters": base.model.num_parameters(),
        "idle_processors": idle,
        "cells": cells,
    }


def tell(name: str, dtype: str, found: dict[str, Any]) -> None:
    """Print one cell."""
    streams = found["streams"]
    print(
        f"{name}, {streams} streams, {found['prompt_tokens']:.0f} tokens of prompts, {found['new_tokens']} new a "
        f"stream; floor {found['floor_tokens_per_second']:.0f}/s, bound {found['bound_tokens_per_second']:.0f}/s"
    )
    for side, each in sorted(found["sides"].items()):
        if "failed" in each:
            print(f"  {side} {SIDES[side]:<24} failed: {each['failed']}")
            continue
        first = each["first_token_ms"]
        print(
            f"  {side} {SIDES[side]:<24}{each['tokens_per_second']:8.1f} tokens/s, {each['share_of_floor']:5.1%} of "
            f"the floor, first token {first['median']:7.1f} ms, p95 {first['p95']:7.1f}, "
            f"processor {each['cpu_ms_per_token']:.2f} ms a token"
        )
    for pair, ratio in found["ratios"].items():
        aims = AIMS_AGAINST_A[dtype] if pair.endswith("a") else AIMS_AGAINST_D
        aim = f", aim {aims[streams]}x" if streams in aims else ""
        print(f"  {pair} {ratio:.2f}x{aim}")
    if {"c", "d"} <= {side for side, each in found["sides"].items() if "failed" not in each}:
        first = [found["sides"][side]["first_token_ms"]["median"] for side in "cd"]
        print(f"  first token c/d {first[0] / first[1]:.2f}x, aim at most 1x")


def main() -> None:
    """Measure, print, write."""

    def words(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=words, default=list(NAMES))
    parser.add_argument("--streams", type=lambda text: [int(each) for each in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=words, default=list(SIDES))
    parser.add_argument("--new-tokens", type=int, help="of an answer [96 for the starter, 48 for the others]")
    parser.add_argument("--alone", type=int, default=8, help="most requests a round of side a")
    parser.add_argument("--theirs", default=" ".join(PAGED), help="flags of transformers serve; write --theirs='...'")
    chosen = parser.parse_args()
    facts = machine("torch", "transformers", "fastapi", "uvicorn")
    print(f"{facts['machine']} {facts['versions']}")
    result: dict[str, Any] = facts | {"sides": SIDES, "theirs": chosen.theirs, "rounds": chosen.rounds, "models": []}
    with tempfile.TemporaryDirectory() as room:
        for name in chosen.models:
            model = make(name, Path(room))
            result["models"].append(measure(model, name, chosen.sides, chosen, Path(room)))
            print(f"{name}: {result['models'][-1]['parameters']:,} parameters, {model.dtype}")
            keep("serve", result)


if __name__ == "__main__":
    main()
