"""Does it pay to choose which two answers are compared? Double Thompson sampling against pairs drawn evenly.

    python bench/elicitation.py [--seeds 10] [--work runs/worlds]

Each prompt has six sampled answers. One arm shows two of them drawn evenly, the other two that the heads of the reward
model fitted so far choose (one in five evenly, as the chat does); the first batch is even for both. Both arms see the
same prompts in the same order, asked of the same people with the same slips. After every batch the model is fitted
anew and judged by the hidden preference on 1,000 pairs of answers to other prompts. Ratings needed to reach an
accuracy: the first batch from which the mean of three batches in a row is that high. Prints tables, writes
bench/results/elicitation.json.
"""

from __future__ import annotations

import argparse
import random
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, keep, machine
from worlds import VERDICTS, World, accuracy, evidence_of, hidden_verdicts, make_world

from chat.personas import PERSONAS, Persona
from chat.rater_minds import opinion, recruit
from lm.loading import load_base
from reward.exploration import choose_pair
from reward.fit import fit_heads
from reward.heads import Heads
from reward.settings import RewardSettings
from store.frozen import Frozen, Pair

PROMPTS, CANDIDATES = 300, 6
BATCH = 30
PEOPLE, NOISE = 10, 0.1
UNIFORM = 0.2
TARGETS = (0.88, 0.90, 0.92, 0.94)
ARMS = ("uniform", "thompson")


def one_arm(arm: str, train: World, test: World, persona: Persona, seed: int) -> list[float]:
    """Accuracy after each batch."""
    people = recruit(persona, seed, PEOPLE, 0.1)
    verdicts = hidden_verdicts(test, persona)
    generator = torch.Generator().manual_seed(seed)
    pairs: list[Pair] = []
    curve: list[float] = []
    heads: Heads | None = None
    for begin in range(0, PROMPTS, BATCH):
        for number in range(begin, begin + BATCH):
            item, texts = train.items[number], train.answers(number)
            different = {text: place for place, text in enumerate(texts) if text.strip()}
            rng = random.Random(f"{seed}|{number}")
            person, erring = rng.choice(people), rng.random() < NOISE
            if len(different) < 2:
                continue
            rows = torch.tensor(list(different.values())) + number * CANDIDATES
            guess = torch.zeros(1, len(rows))
            if heads is not None and arm == "thompson":
                guess = heads(train.features[rows], train.tokens[rows], "cost")
            share = UNIFORM if heads is not None and arm == "thompson" else 1.0
            drawn = choose_pair(guess, share, generator)
            shown = [list(different)[drawn.first], list(different)[drawn.second]]
            said = opinion(person, "pair", item, shown, rng, erring)
            first, second = shown[::-1] if said == "right" else shown
            pairs.append(Pair(item.messages, first, second, VERDICTS[said], "pair", person.name, f"c{number}", "train"))
        evidence = evidence_of(Frozen("0" * 64, list(pairs), [], []))
        heads = fit_heads(*train.read(evidence), evidence, RewardSettings()).heads
        curve.append(accuracy(heads, test, verdicts))
    return curve


def needed(curve: list[float], target: float) -> int | None:
    """Ratings after which the accuracy, as a mean of three batches, is at the target; None if it never is."""
    for i in range(len(curve) - 2):
        if statistics.mean(curve[i : i + 3]) >= target:
            return (i + 1) * BATCH
    return None


def one_seed(seed: int, personas: list[str], work: Path) -> list[dict[str, Any]]:
    """Both arms with these personas."""
    torch.set_num_threads(1)
    base = load_base("starter")
    train = make_world(base, "train", 100 + seed, PROMPTS, CANDIDATES, work)
    test = make_world(base, "test", seed % 6, 1000, 2, work)
    rows = [
        {"seed": seed, "persona": name, "arm": arm, "curve": one_arm(arm, train, test, PERSONAS[name], seed)}
        for name in personas
        for arm in ARMS
    ]
    print(f"seed {seed}: done", flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Paired: accuracy by ratings and its difference with a 95 % bootstrap interval, and ratings needed."""
    curves = {(row["seed"], row["persona"], row["arm"]): row["curve"] for row in rows}
    runs = sorted({key[:2] for key in curves})
    rng = random.Random(0)
    found: dict[str, Any] = {"accuracy": [], "needed": {}}
    for i in range(len(rows[0]["curve"])):
        gains = [curves[*run, "thompson"][i] - curves[*run, "uniform"][i] for run in runs]
        draws = sorted(statistics.mean(rng.choices(gains, k=len(gains))) for _ in range(2000))
        means = {arm: statistics.mean(curves[*run, arm][i] for run in runs) for arm in ARMS}
        found["accuracy"].append(
            {"ratings": (i + 1) * BATCH, **means, "gain": statistics.mean(gains), "low": draws[49], "high": draws[1949]}
        )
    for target in TARGETS:
        pairs = [tuple(needed(curves[*run, arm], target) for arm in ARMS) for run in runs]
        both = [pair for pair in pairs if None not in pair]
        found["needed"][str(target)] = {
            "runs": len(runs),
            "reached": {arm: sum(pair[k] is not None for pair in pairs) for k, arm in enumerate(ARMS)},
            "median_where_both": {
                arm: statistics.median(pair[k] for pair in both) if both else None for k, arm in enumerate(ARMS)
            },
            "fewer": sum(pair[1] < pair[0] for pair in both),
            "more": sum(pair[1] > pair[0] for pair in both),
        }
    return found


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--persona", action="append", choices=list(PERSONAS), help="all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/worlds"))
    given = parser.parse_args()
    personas = given.persona or list(PERSONAS)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(one_seed, seed, personas, given.work) for seed in range(given.seeds)]
        rows = [row for each in waiting for row in each.result()]
    found = summary(rows)
    for row in found["accuracy"]:
        print(
            f"{row['ratings']:4} ratings: uniform {row['uniform']:.3f}, thompson {row['thompson']:.3f}, "
            f"gain {row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        )
    for target, row in found["needed"].items():
        print(f"to reach {target}: {row}")
    keep("elicitation", machine("torch", "transformers") | {"seeds": given.seeds} | found | {"rows": rows})
    print(f"written to {RESULTS / 'elicitation.json'}")


if __name__ == "__main__":
    main()
