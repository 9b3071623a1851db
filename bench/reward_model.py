"""How well the reward model learns a hidden preference, by ratings, kinds, and people who mean no good.

    python bench/reward_model.py [--part accuracy --part kinds --part attacks] [--seeds 6] [--work runs/worlds]
                                 [--size 100 --size 300 ...]

accuracy    pairs with 10 % noise by 20 people: accuracy against the noise-free preference on 1,000 pairs of answers to
            other prompts, at 100, 300, 1,000 and 3,000 ratings; with the length head as used (cost), kept and dropped;
            calibration on the verdicts of new people, noise included, before and after it was fitted.
kinds       each kind of rating alone, and all mixed, at equal count.
attacks     40 people of whom 20 % answer at random and 5 % push against the others, alike; with and without weighing.

Every figure is a mean over seeds and personas, each seed with prompts, answers and people of its own. Prints tables and
writes bench/results/reward_model.json. A run that was cut goes on with what lies in the folder of --work; empty it
after a change of the code or of the sizes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, keep, machine
from worlds import World, accuracy, evidence_of, hidden_verdicts, make_world, rated

from chat.personas import PERSONAS, Persona
from chat.rater_minds import KINDS, recruit
from lm.loading import load_base
from reward.calibration import Calibration, calibration_curve
from reward.evidence import FIRST
from reward.fit import Fitted, fit_heads
from reward.judges import judges
from reward.settings import RewardSettings

SIZES = (100, 300, 1000, 3000)
POOLED = (300, 3000)  # of these the verdicts of all seeds and personas are put together, too
KIND_SIZES = (300, 1000)
ATTACK_SIZES = (300, 1000, 3000)
ROOM, TEST = 1.2, 1000  # prompts of a world: to rate, for each rating, since some give none; and to judge by
PEOPLE = 20
CROWD = 40
SPREAD = 0.1  # of people's thresholds of a thumb up, in steps of style
MIXED = dict.fromkeys(KINDS, 1 / len(KINDS))

Row = dict[str, Any]


def fitted(world: World, people: Any, kinds: dict[str, float], ratings: int, seed: int, **knobs: Any) -> Fitted:
    """A fit to so many ratings."""
    evidence = evidence_of(rated(world, people, kinds, ratings, seed))
    return fit_heads(*world.read(evidence), evidence, replace(RewardSettings(), **knobs))


def measure_accuracy(
    train: World, test: World, persona: Persona, seed: int, sizes: tuple[int, ...] = SIZES
) -> list[Row]:
    """By number of ratings."""
    people = recruit(persona, seed, PEOPLE, SPREAD)
    new = recruit(persona, seed + 1000, PEOPLE, SPREAD)
    verdicts = hidden_verdicts(test, persona)
    asked = evidence_of(rated(test, new, {"pair": 1.0}, TEST, seed + 1000))
    rows = []
    for ratings in sizes:
        found = fitted(train, people, {"pair": 1.0}, ratings, seed)
        pairs = asked.ratings["pair"]
        rewards = found.heads(*test.read(asked), "cost").mean(0)
        difference = (rewards[pairs.first] - rewards[pairs.second])[pairs.value == FIRST]
        lengths = {use: _slope(found, test, use) for use in ("cost", "keep")}
        rows.append(
            {
                "ratings": ratings,
                **{use: accuracy(found.heads, test, verdicts, use) for use in ("cost", "keep", "drop")},
                "ece_before": calibration_curve(Calibration().chance(difference))[0],
                "ece": calibration_curve(found.calibration.chance(difference))[0],
                "difference": difference.tolist() if ratings in POOLED else None,
                "calibration": [found.calibration.temperature, found.calibration.lapse],
                "slope": lengths["cost"],
                "slope_raw": lengths["keep"],
            }
        )
    return rows


@torch.no_grad()
def _slope(found: Fitted, test: World, use: Any) -> float:
    """Deviations of reward per tenfold longer answer."""
    reward = found.heads(test.features, test.tokens, use).mean(0)
    tenfold = test.tokens.log10() - test.tokens.log10().mean()
    return float((tenfold * reward).sum() / (tenfold**2).sum() / reward.std())


def measure_kinds(train: World, test: World, persona: Persona, seed: int) -> list[Row]:
    """Each kind alone, and all together."""
    people = recruit(persona, seed, PEOPLE, SPREAD)
    verdicts = hidden_verdicts(test, persona)
    return [
        {"kind": name, "ratings": ratings, "accuracy": accuracy(found.heads, test, verdicts)}
        for ratings in KIND_SIZES
        for name, kinds in [*((kind, {kind: 1.0}) for kind in KINDS), ("mixed", MIXED)]
        for found in [fitted(train, people, kinds, ratings, seed)]
    ]


def measure_attacks(train: World, test: World, persona: Persona, seed: int) -> list[Row]:
    """A clean crowd, and one with bad people in it, with the defences and without; who of them is named."""
    clean = recruit(persona, seed, CROWD, SPREAD)
    mixed = recruit(persona, seed, CROWD, SPREAD, random_share=0.2, adversary_share=0.05)
    bad = {each.name: each.character for each in mixed if each.character != "honest"}
    verdicts = hidden_verdicts(test, persona)
    rows = []
    for ratings in ATTACK_SIZES:
        evidence = evidence_of(rated(train, mixed, {"pair": 1.0}, ratings, seed))
        read = train.read(evidence)
        found = fit_heads(*read, evidence, RewardSettings())
        blind = fit_heads(*read, evidence, replace(RewardSettings(), weigh_raters=False))
        seen = judges(found.people, found.together, evidence)
        named = {each.person for each in seen if each.suspicions}
        grouped = {each.person for each in seen if each.group is not None}
        adversaries = {name for name, character in bad.items() if character == "adversary"}
        rows.append(
            {
                "ratings": ratings,
                "clean": accuracy(fitted(train, clean, {"pair": 1.0}, ratings, seed).heads, test, verdicts),
                "defended": accuracy(found.heads, test, verdicts),
                "undefended": accuracy(blind.heads, test, verdicts),
                "adversaries_named": len(named & adversaries) / len(adversaries),
                "adversaries_grouped": len(grouped & adversaries) / len(adversaries),
                "random_named": len(named & (set(bad) - adversaries)) / (len(bad) - len(adversaries)),
                "honest_named": len(named - set(bad)),
                "honest_grouped": len(grouped - set(bad)),
            }
        )
    return rows


PARTS: dict[str, Callable[..., list[Row]]] = {
    "accuracy": measure_accuracy,
    "kinds": measure_kinds,
    "attacks": measure_attacks,
}


def one_seed(seed: int, parts: list[str], sizes: tuple[int, ...], work: Path) -> list[Row]:
    """All parts of a seed; of the accuracy these numbers of ratings."""
    torch.set_num_threads(1)
    base = load_base("starter")
    asked = round(ROOM * max(sizes))
    train, test = make_world(base, "train", seed, asked, 2, work), make_world(base, "test", seed, TEST, 2, work)
    rows = []
    for name, persona in PERSONAS.items():
        for part in parts:
            file = work / f"{part}-{name}-{seed}.json"
            if not file.is_file():
                more = {"sizes": sizes} if part == "accuracy" else {}
                file.write_text(json.dumps(PARTS[part](train, test, persona, seed, **more)))
                print(f"seed {seed}, {name}: {part} done", flush=True)
            rows += [{"part": part, "persona": name, "seed": seed} | row for row in json.loads(file.read_text())]
    return rows


def mean(rows: list[Row], key: str, **wanted: Any) -> float:
    """Of the rows that have what is wanted."""
    return statistics.mean(row[key] for row in rows if all(row.get(name) == value for name, value in wanted.items()))


def pooled_ece(rows: list[Row], **wanted: Any) -> float:
    """Calibration error over the verdicts of all seeds and personas together, each by its own fit."""
    chances = [
        Calibration(*row["calibration"]).chance(torch.tensor(row["difference"]))
        for row in rows
        if row["part"] == "accuracy" and all(row.get(name) == value for name, value in wanted.items())
    ]
    return calibration_curve(torch.cat(chances))[0]


def tables(rows: list[Row]) -> None:
    """Print what was found."""
    parts = {row["part"] for row in rows}
    if "accuracy" in parts:
        sizes = sorted({row["ratings"] for row in rows if row["part"] == "accuracy"})
        print(f"\naccuracy against the noise-free preference, by ratings {sizes} (cost / keep / drop)")
        for name in PERSONAS:
            figures = [
                " / ".join(
                    f"{mean(rows, use, part='accuracy', persona=name, ratings=n):.3f}"
                    for use in ("cost", "keep", "drop")
                )
                for n in sizes
            ]
            print(f"{name:10}", "   ".join(figures))
        for key in ("cost", "keep", "drop", "ece_before", "ece", "slope", "slope_raw"):
            print(f"{key:10}", "   ".join(f"{mean(rows, key, part='accuracy', ratings=n):.3f}" for n in sizes))
        print("ece of all verdicts together", {n: round(pooled_ece(rows, ratings=n), 4) for n in POOLED if n in sizes})
    if "kinds" in parts:
        print("\naccuracy by kind at equal count", KIND_SIZES)
        for kind in (*KINDS, "mixed"):
            print(
                f"{kind:10}",
                "   ".join(f"{mean(rows, 'accuracy', part='kinds', kind=kind, ratings=n):.3f}" for n in KIND_SIZES),
            )
    if "attacks" in parts:
        print("\n20 % at random, 5 % adversaries", ATTACK_SIZES)
        for key in [
            key
            for key in next(row for row in rows if row["part"] == "attacks")
            if key not in ("part", "persona", "seed", "ratings")
        ]:
            print(f"{key:20}", "   ".join(f"{mean(rows, key, part='attacks', ratings=n):.3f}" for n in ATTACK_SIZES))


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--size", type=int, action="append", help="ratings of the accuracy part")
    parser.add_argument("--work", type=Path, default=Path("runs/worlds"))
    given = parser.parse_args()
    parts = given.part or list(PARTS)
    sizes = tuple(given.size or SIZES)
    if parts != ["accuracy"] and sizes != SIZES:
        parser.error("--size is of the part accuracy alone")
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(one_seed, seed, parts, sizes, given.work) for seed in range(given.seeds)]
        rows = [row for each in waiting for row in each.result()]
    tables(rows)
    pooled = {str(n): pooled_ece(rows, ratings=n) for n in POOLED if n in sizes} if "accuracy" in parts else {}
    slim = [{key: value for key, value in row.items() if key != "difference"} for row in rows]
    keep("reward_model", machine("torch", "transformers") | {"seeds": given.seeds, "ece_pooled": pooled, "rows": slim})
    print(f"written to {RESULTS / 'reward_model.json'}")


if __name__ == "__main__":
    main()
