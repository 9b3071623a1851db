"""What it costs to serve several adapters in one batch.

    python bench/adapters.py [--streams 8,32] [--rounds 9] [--new-tokens 96]

The starter, in the engine of this process. Three sides, one after the other in every round, on prompts of the same
words, greedy, with answers of one length: no adapter; one adapter for all streams; four adapters, each for a quarter of
them. The adapters have rank 16 on all linear layers. Prints times and ratios, writes bench/results/adapters.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from random import Random
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from machine import keep, machine
from questions import questions
from variants import RANK, random_adapter

from lm.engine import Engine
from lm.loading import load_base
from lm.prompts import Message, encode_chat
from lm.settings import EngineSettings, Sampling
from lm.threads import apart

SIDES = {"none": ["0"], "one": ["1"], "four": ["1", "2", "3", "4"]}  # versions that the streams take in turn
AIM = 1.15  # of the time with one adapter, at most


def batch(engine: Engine, prompts: list[list[int]], versions: list[str], new_tokens: int) -> float:
    """Seconds until every stream has ended; RuntimeError if one is short."""
    sampling = Sampling(temperature=0.0, max_tokens=new_tokens, ignore_eos=True)
    begun = time.perf_counter()
    streams = [engine.submit(prompt, sampling, versions[place % len(versions)]) for place, prompt in enumerate(prompts)]
    for stream in streams:
        for _ in stream:
            pass
    took = time.perf_counter() - begun
    for stream in streams:
        if len(stream.completion.token_ids) != new_tokens:
            raise RuntimeError(f"a stream ended after {len(stream.completion.token_ids)} tokens")
    return took


def shuffled(chat: list[Message], random: Random) -> list[Message]:
    """The same words in another order, so that a prompt which one side has read is new to the next."""
    words = chat[0]["content"].split()
    random.shuffle(words)
    return [{"role": "user", "content": " ".join(words)}]


def measure(engine: Engine, streams: int, rounds: int, new_tokens: int) -> dict[str, Any]:
    """One number of streams."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    random = Random(streams)
    for turn in range(-1, rounds):  # the first one warms up
        chats = questions(engine.base, streams, seed=streams * 1000 + turn)
        for name, versions in SIDES.items():
            prompts = [encode_chat(engine.base, shuffled(chat, random)) for chat in chats]
            took = batch(engine, prompts, versions, new_tokens)
            if turn >= 0:
                seconds[name].append(took)

    def ratio(name: str, other: str) -> float:
        return statistics.median(x / y for x, y in zip(seconds[name], seconds[other], strict=True))

    return {
        "streams": streams,
        "new_tokens": new_tokens,
        "seconds": {name: {"median": statistics.median(each), "all": each} for name, each in seconds.items()},
        "four_to_one": ratio("four", "one"),
        "four_to_none": ratio("four", "none"),
        "one_to_none": ratio("one", "none"),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=lambda text: [int(each) for each in text.split(",")], default=[8, 32])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--new-tokens", type=int, default=96)
    chosen = parser.parse_args()
    facts = machine("torch", "transformers")
    print(f"{facts['machine']} {facts['versions']}")
    base = apart(lambda: load_base("starter", device="cpu", dtype="float32"))
    with apart(lambda: Engine(base, EngineSettings())) as engine:
        for version in SIDES["four"]:
            engine.install(version, random_adapter(base, int(version)))
        rows = [measure(engine, streams, chosen.rounds, chosen.new_tokens) for streams in chosen.streams]
    keep("adapters", facts | {"rank": RANK, "rows": rows})
    for row in rows:
        times = ", ".join(f"{name} {each['median']:.3f} s" for name, each in row["seconds"].items())
        print(
            f"{row['streams']} streams of {row['new_tokens']} tokens, adapters: {times}; four/one "
            f"{row['four_to_one']:.3f}x, aim at most {AIM}x; four/none {row['four_to_none']:.3f}x; one/none "
            f"{row['one_to_none']:.3f}x"
        )


if __name__ == "__main__":
    main()
