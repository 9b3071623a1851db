"""Do many strangers of one rating each turn round what twenty honest people taught, and is the operator told?

    python bench/sybils.py [--strangers 0 50 200 800] [--seeds 3] [--work runs/worlds]

Twenty people of one hidden preference give eight ratings each, one in ten turned round; then strangers give one rating
each, all against it. Everything is put into a store as the chat does it, frozen and fitted, with the bound on new
people's ratings (`reward.newcomer_share`) and without. Once the strangers come last, and once they come first, so that
they are the first raters of the store. Printed and written to bench/results/sybils.json: the share of answers to other
prompts that the reward orders as the honest do, who is named as suspect, and what report and gate say. Means over
preferences and seeds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import keep, machine
from sqlalchemy.orm import Session
from worlds import World, accuracy, hidden_verdicts, make_world

from chat.personas import PERSONAS, Persona
from chat.rater_minds import Rater, opinion, recruit
from lm.loading import load_base
from reward.evidence import evidence_from
from reward.fit import fit_heads
from reward.judges import judges
from reward.settings import RewardSettings, dataset_knobs
from rl.gate import newcomers_check
from store.conversations import new_conversation, person, record_generation
from store.database import open_store
from store.datasets import freeze
from store.ratings import rate
from store.versions import ensure_base

HONEST, EACH = 20, 8
NOISE = 0.1
PROMPTS, TEST = 1200, 600


def give(session: Session, world: World, place: int, mind: Rater, rng: random.Random, noise: float) -> bool:
    """One comparison by somebody, of the two answers to the prompt at `place`; False where they are the same text."""
    item, answers = world.items[place], world.answers(place)[:2]
    if answers[0] == answers[1] or not all(each.strip() for each in answers):
        return False
    who = person(session, None, mind.name).id
    talk = new_conversation(session, who, "page").id
    shown = [
        record_generation(
            session, person_id=who, conversation_id=talk, messages=list(item.messages), version_id=0, adapter_hash=None,
            sampling={}, token_ids=[1], logprobs=[0.0], text=text, finish_reason="stop", surface="page", latency=0.1,
        ).id
        for text in answers
    ]  # fmt: skip
    said = opinion(mind, "pair", item, answers, rng, rng.random() < noise)
    rate(session, generation_id=shown[0], person_id=who, kind="pair", value=said, other=shown[1], surface="page")
    return True


def crowd(persona: Persona, strangers: int, seed: int, first: bool) -> list[tuple[Rater, float]]:
    """Who rates, in order, and how often they err."""
    honest = [(each, NOISE) for each in recruit(persona, seed, HONEST, 0.0) for _ in range(EACH)]
    random.Random(f"order|{seed}").shuffle(honest)
    hostile = [(Rater(f"stranger {number}", persona, "adversary"), 0.0) for number in range(strangers)]
    return hostile + honest if first else honest + hostile


def measure(
    train: World, test: World, persona: Persona, strangers: int, seed: int, first: bool, shares: Sequence[float]
) -> list[dict[str, Any]]:
    """By the bound on new people's ratings."""
    verdicts = hidden_verdicts(test, persona)
    rng = random.Random(f"ratings|{persona.name}|{seed}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        with store.session() as session:
            ensure_base(session, "starter", "sybils")
            hostile = {person(session, None, f"stranger {number}").id for number in range(strangers)}
            places = iter(range(len(train.items)))
            for mind, noise in crowd(persona, strangers, seed, first):
                while not give(session, train, next(places), mind, rng, noise):
                    pass
        for share in shares:
            knobs = RewardSettings(newcomer_share=share, holdout_people=0.0)
            with store.session(reading=True) as session:
                frozen = freeze(session, seed=seed, **dataset_knobs(knobs))
            evidence = evidence_from(frozen, "train")
            fitted = fit_heads(*train.read(evidence), evidence, knobs)
            named = {each.person for each in judges(fitted.people, fitted.together, evidence) if each.suspicions}
            rows.append(
                {
                    "strangers": strangers,
                    "first": first,
                    "share": share,
                    "persona": persona.name,
                    "seed": seed,
                    "accuracy": accuracy(fitted.heads, test, verdicts),
                    "learned_of_strangers": sum(row.person in hostile for row in frozen.pairs),
                    "honest_named": len(named - hostile),
                    "strangers_named": len(named & hostile),
                    "report": frozen.of_new_people(),
                    "gate": newcomers_check(frozen, knobs.newcomer_share).why,
                }
            )
        store.close()
    return rows


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over preferences and seeds."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["first"], row["strangers"], row["share"]), []).append(row)
    figures = ("accuracy", "learned_of_strangers", "honest_named", "strangers_named")
    return [
        {"first": first, "strangers": strangers, "share": share}
        | {name: statistics.mean(row[name] for row in each) for name in figures}
        | {"worst": min(row["accuracy"] for row in each), "report": each[0]["report"], "gate": each[0]["gate"]}
        for (first, strangers, share), each in sorted(cells.items())
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strangers", type=int, nargs="+", default=[0, 50, 200, 800])
    parser.add_argument("--seeds", type=int, default=3)
    names = list(PERSONAS)
    parser.add_argument("--personas", nargs="+", default=["terse", "courteous"], choices=names)
    parser.add_argument("--work", type=Path, default=Path("runs/worlds"), help="where worlds are kept")
    given = parser.parse_args()
    base, shares = load_base(), (1.0, RewardSettings().newcomer_share)
    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        train = make_world(base, "train", seed, PROMPTS, 2, given.work)
        test = make_world(base, "test", seed + 1000, TEST, 2, given.work)
        for persona in (PERSONAS[name] for name in given.personas):
            for strangers in given.strangers:
                for first in (False, True) if strangers else (False,):
                    rows += measure(train, test, persona, strangers, seed, first, shares)
                    told = ("persona", "seed", "strangers", "first", "share", "accuracy")
                    for row in rows[-len(shares) :]:
                        print({name: row[name] for name in told}, flush=True)
    means = table(rows)
    for row in means:
        print(
            f"{row['strangers']:4} strangers {'before' if row['first'] else 'after '} the honest, "
            f"share {row['share']:.1f}: accuracy {row['accuracy']:.3f} (worst {row['worst']:.3f}), "
            f"{row['learned_of_strangers']:.0f} of their ratings learned, "
            f"named: {row['honest_named']:.1f} honest, {row['strangers_named']:.1f} strangers"
        )
    last = next(row for row in reversed(means) if row["share"] < 1)
    print(last["report"], last["gate"], sep="\n")
    keep("sybils", machine("torch", "transformers") | {"means": means, "rows": rows})


if __name__ == "__main__":
    main()
