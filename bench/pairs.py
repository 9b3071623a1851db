"""What it costs to choose the two answers that are shown: six candidates against two, on the starter.

    python bench/pairs.py [--turns 40]

Each question is answered twice in one chat without other load: by two answers that are shown as they are, and by two
of six that the heads of a reward model choose. Seconds from the request to the recorded pair, and of them those that
the choice takes; then the speed of eight other streams, alone and while pairs are chosen without a pause. Prints, and
writes bench/results/pairs.json.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import keep, machine

from chat.explorer import Explorer
from chat.history import weave
from chat.pace import Pace
from chat.reply import Turn
from chat.service import Service
from chat.watcher import Watcher
from lm.backend import OwnEngine
from lm.engine import Engine
from lm.loading import load_base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from lm.starter.skills import questions
from lm.stream import Stream
from lm.threads import apart
from reward.exploration import Drawn
from reward.model import fit_reward
from reward.settings import RewardSettings
from store.conversations import new_conversation, person
from store.database import open_store
from store.frozen import Frozen, Pair
from store.versions import ensure_base

CANDIDATES = 6
OTHERS = 8  # streams beside
LENGTH = 400  # tokens of each
ROUNDS = 4


async def measure(engine: Engine, home: Path, turns: int) -> dict[str, Any]:
    """All figures, with a store and a reward model in `home`."""
    store, base = open_store(home), engine.base
    with store.session() as session:
        ensure_base(session, base.id, base.fingerprint)
        ann = person(session, None, "Ann").id
    service = Service(store, base, Watcher(store, OwnEngine(engine)), Sampling(), engine.context, Pace(0))
    explorer = Explorer(home, base, candidates=CANDIDATES, uniform_share=0.2, look_seconds=1.0)
    assert await explorer.ready()
    choices: list[float] = []
    draws: Counter[str] = Counter()

    async def timed(messages: list[dict[str, str]], answers: list[str]) -> Drawn | None:
        begun = time.perf_counter()
        drawn = await explorer.choose(messages, answers)
        choices.append(time.perf_counter() - begun)
        assert drawn is not None
        draws[drawn.draw] += 1
        return drawn

    async def as_they_are(messages: list[dict[str, str]], answers: list[str]) -> None:
        return None

    async def pair(messages: list[dict[str, str]], count: int, seed: int) -> float:
        with store.session() as session:
            talk = new_conversation(session, ann, "page").id
            turn = Turn(ann, talk, weave(session, talk, messages).leaf, messages, "page")
        samplings = [replace(service.sampling, seed=seed + index) for index in range(count)]
        begun = time.perf_counter()
        comparison = await service.compare(turn, samplings, timed if count > 2 else as_they_are)
        await comparison.answers
        return time.perf_counter() - begun

    asked = [item.messages for item in questions("test", 0, turns)]
    await pair(asked[0], CANDIDATES, 0)
    choices.clear()
    draws.clear()
    two: list[float] = []
    six: list[float] = []
    for number, messages in enumerate(asked):
        two.append(await pair(messages, 2, 100 * number))
        six.append(await pair(messages, CANDIDATES, 100 * number))

    texts = [f"Your order {index} arrives on Monday, as far as we know." for index in range(CANDIDATES)]
    speeds: dict[bool, list[float]] = {False: [], True: []}
    rates: list[float] = []
    for round_ in range(2 * ROUNDS):
        busy, chosen = bool(round_ % 2), 0
        begun = time.perf_counter()
        streams = [others(engine, index) for index in range(OTHERS)]
        while not all(stream.done for stream in streams):
            if busy:
                await explorer.choose(asked[chosen % len(asked)], texts)
                chosen += 1
            else:
                await asyncio.sleep(0.01)
        speeds[busy].append(OTHERS * LENGTH / (time.perf_counter() - begun))
        if busy:
            rates.append(chosen / (time.perf_counter() - begun))
    store.close()
    return {
        "seconds_of_a_pair": {"two": statistics.median(two), "six": statistics.median(six)},
        "seconds_of_the_choice": statistics.median(choices[:turns]),
        "draws": dict(draws),
        "other_streams_tokens_per_second": {"alone": speeds[False], "beside_choices": speeds[True]},
        "choices_per_second_beside_them": rates,
    }


def others(engine: Engine, seed: int) -> Stream:
    """One of the streams beside."""
    prompt = encode_chat(engine.base, [{"role": "user", "content": f"What is {seed} + 8?"}])
    sampling = Sampling(temperature=1.0, max_tokens=LENGTH, seed=seed, ignore_eos=True)
    return engine.submit(prompt, sampling, person=str(seed))


def some_reward(engine: Engine, home: Path) -> None:
    """A reward model that likes the shorter of two answers."""
    asked = [item.messages for item in questions("train", 0, 60)]
    long = "Thank you for asking. As far as we can tell from what we have here, it is as you say."
    pairs = [
        Pair(each, f"It is {n}.", f"{long} {n}", 1.0, "pair", "ann", f"c{n}", "train") for n, each in enumerate(asked)
    ]
    fit_reward(engine.base, Frozen("0" * 64, pairs, [], []), RewardSettings()).save(home / "reward")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=40)
    turns = parser.parse_args().turns
    engine = apart(lambda: Engine(load_base("starter", device="cpu", dtype="float32"), EngineSettings()))
    with tempfile.TemporaryDirectory() as home:
        apart(lambda: some_reward(engine, Path(home)))
        with engine:
            found = asyncio.run(measure(engine, Path(home), turns))
    result = machine("torch", "transformers") | {"turns": turns, "candidates": CANDIDATES} | found
    keep("pairs", result)
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
