"""How long a fit to pairs of starter answers takes, against an epoch of TRL's stock trainer: the trial's second part.

Every pair is of a prompt of its own, so that each of its answers has to be read. Ours is timed from the ratings to the
finished model; stock only from the end of its first step to the end of its last, without its tokens and its loading.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stock import StepTimes, stock_trainer
from worlds import evidence_of, make_world, rated

from chat.personas import PERSONAS
from chat.rater_minds import recruit
from lm.loading import Base
from reward.fit import ROUNDS
from reward.members import STEPS
from reward.model import fit_reward
from reward.settings import RewardSettings
from store.frozen import Frozen, Pair

SEED = 100  # of the world
SPARE = 1.25  # prompts for each pair: in one of six both answers are the same
PEOPLE = 20
SPREAD = 0.1  # of their thresholds
PERSONA = "courteous"
FITS = [*(f"round {number + 1}" for number in range(1 + ROUNDS)), "heads"]


def measure(base: Base, settings: RewardSettings, pairs: int, subset: int, runs: int, work: Path) -> dict[str, Any]:
    """All figures of the part."""
    settings = replace(settings, regime="heads")
    world = make_world(base, "train", SEED, round(pairs * SPARE), 2, work)
    frozen = rated(world, recruit(PERSONAS[PERSONA], SEED, PEOPLE, SPREAD), {"pair": 1.0}, pairs, SEED)
    decided = [pair for pair in frozen.pairs if pair.outcome == 1.0]
    batch = settings.lora_batch_size
    drawn = random.Random(SEED).sample(decided, subset // batch * batch + batch)
    some = drawn[batch:]
    ours_some: list[dict[str, Any]] = []
    stock_some: list[float] = []
    for turn in range(-1, runs):  # the first one warms up
        ours = ours_timed(base, Frozen("0" * 64, some, [], []), settings)
        stock = stock_timed(base, drawn, settings)
        print(f"{len(some)} pairs: ours {ours['seconds']:.2f} s, an epoch of stock {stock:.2f} s", flush=True)
        if turn >= 0:
            ours_some.append(ours)
            stock_some.append(stock)
    whole = [ours_timed(base, frozen, settings) for _ in range(runs)]
    middle = sorted(whole, key=lambda each: each["seconds"])[len(whole) // 2]
    epoch = statistics.median(stock_some) * len(frozen.pairs) / len(some)
    return {
        "base": base.id,
        "pairs": len(frozen.pairs),
        "decided": len(decided),
        "distinct_answers": len(evidence_of(frozen).texts),
        "tokens_of_an_answer": float(world.tokens.mean()),
        "ours": {"seconds": [each["seconds"] for each in whole], "median_run": middle},
        "stock_epoch_scaled": epoch,
        "against_stock": {
            str(epochs): middle["seconds"] / (epochs * epoch) for epochs in (1, settings.lora_epochs, middle["passes"])
        },
        "subset": {
            "pairs": len(some),
            "ours": [each["seconds"] for each in ours_some],
            "passes": [each["passes"] for each in ours_some],
            "stock_epoch": stock_some,
            "ratio": statistics.median(a["seconds"] / b for a, b in zip(ours_some, stock_some, strict=True)),
        },
    }


def ours_timed(base: Base, frozen: Frozen, settings: RewardSettings) -> dict[str, Any]:
    """Seconds of a fit in all and by part, and how often it passed over the ratings.

    A pass is an evaluation of the likelihood and its gradient over all ratings, for all members of a fit at once. What
    is done between two fits (how reliable people are) counts with the later one; finding groups of people, the
    calibration and the scale are `rest`.
    """
    seconds = dict.fromkeys(["features", *FITS, "rest"], 0.0)
    passes = dict.fromkeys(FITS, 0)
    begun = last = time.perf_counter()

    def told(label: str, done: int, total: int) -> None:
        nonlocal last
        part = "features" if label.startswith("features") else FITS[(done - 1) // STEPS]
        now = time.perf_counter()
        seconds[part] += now - last
        last = now
        if part in passes:
            passes[part] += 1

    fit_reward(base, frozen, settings, told)
    ended = time.perf_counter()
    seconds["rest"] = ended - last
    return {
        "seconds": ended - begun,
        "by_part": seconds,
        "passes": sum(passes.values()),
        "passes_by_fit": passes,
    }


def stock_timed(base: Base, pairs: Sequence[Pair], settings: RewardSettings) -> float:
    """Seconds of an epoch of stock over these pairs, without its first step, which warms up."""
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        trainer = stock_trainer(base, pairs, settings, 1, Path(folder))
        trainer.add_callback(times)
        trainer.train()
    return times.ends[-1] - times.ends[0]
