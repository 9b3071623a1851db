"""Too much of a reward: what people want against what the reward model says, along a training that goes on too long.

    python bench/overoptimisation.py [--first-seed 1] [--seeds 2] [--work DIR] [--quick]

Simulated people with a hidden preference rate pairs of the starter's answers; a reward model is fitted to few of them.
PPO then climbs it with hardly any KL to hold it (Gao et al. 2022, arXiv 2210.10760), once with one head and once with
each way to make one reward of several (Coste et al. 2023, arXiv 2310.02743). The checks of `rl.stopping` are made on
the way and stop nothing. Afterwards the hidden preference itself judges the policy at every check, on prompts that no
training and no check has seen, and the rule is asked where it would have stopped and what it would have kept.

Prints a table, writes bench/results/overoptimisation.json and docs/images/overoptimisation.png. `--work DIR` keeps what
is done; a run that was cut goes on there. About 13 minutes a seed on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from machine import keep, machine
from worlds import make_world, rated

from chat.personas import PERSONAS
from chat.rater_minds import recruit
from lm.adapters import Adapter, read_adapter
from lm.engine import Engine
from lm.loading import Base, load_base
from lm.prompts import fit_chat
from lm.settings import EngineSettings, Sampling
from lm.suites import Item, load_suite
from reward.model import RewardModel, fit_reward
from reward.settings import RewardSettings
from rl.settings import AnchorSettings, PPOSettings, StoppingSettings
from rl.stopping import Check, Stopping, best_of, is_over
from rl.training import train_policy
from rl.validation import Validation, held_out_judge
from store.frozen import Frozen, Pair
from store.holdout import opening

PLOT = Path(__file__).parent.parent / "docs/images/overoptimisation.png"
ARMS = {
    "one head": RewardSettings(heads=1, combine="mean"),
    "minimum of 5": RewardSettings(heads=5, combine="minimum"),
    "mean - deviation / 2": RewardSettings(heads=5, combine="pessimistic"),
}
TOKENS = 96  # of an answer in a rollout and in what is judged
AIM = 0.05  # of the best gold reward, that the stop may miss


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    updates: int = 21
    episodes: int = 64
    every: int = 3  # rollouts between checks
    ratings: int = 100
    prompts: int = 300  # that PPO is trained on; those rated are the first of them
    held: int = 90  # prompts whose pairs are held out
    gold: int = 96  # fresh prompts a skill that the hidden preference judges

    @property
    def worlds(self) -> tuple[int, int]:
        """Prompts of the two worlds: trained on, and held out."""
        return self.prompts, self.held


FULL = Size()
QUICK = Size(updates=3, episodes=16, every=1, ratings=40, prompts=60, held=20, gold=4)


def trial(persona: str, seed: int, arm: str, size: Size, work: Path) -> dict[str, Any]:
    """One training: the standing, the gold and the proxy reward at every check, and where the rule would have ended."""
    torch.set_num_threads(1)
    folder = work / f"{persona}-{seed}-{arm.replace(' ', '_').replace('/', 'by')}"
    result = folder / "result.json"
    if result.is_file():
        return dict(json.loads(result.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    base = load_base("starter", device="cpu", dtype="float32")
    people = recruit(PERSONAS[persona], seed, 10, 0.1)
    worlds = [make_world(base, "train", 300 + 2 * seed + i, n, 2, work) for i, n in enumerate(size.worlds)]
    ratings = rated(worlds[0], people, {"pair": 1.0}, size.ratings, seed)
    seen = [item.messages for item in worlds[0].items]
    held = rated(worlds[1], people, {"pair": 1.0}, size.held, seed + 1).pairs
    held = [replace(pair, split="holdout") for pair in held if pair.messages not in seen]
    reward = fit_reward(base, ratings, ARMS[arm])

    weak = PPOSettings(
        kl=0.01, kl_horizon=1e12, max_tokens=TOKENS
    )  # all as in an update, but for a KL that is weak and stays so
    ppo = replace(weak, updates=size.updates, episodes=size.episodes, save_every=size.every)
    settings = StoppingSettings(every=size.every, patience=10**6)  # all checks are made, none ends the training
    questions = load_suite("skills", settings.skill_items, seed, "validation")
    lent = {opening(pair.messages) for pair in held}
    judge = held_out_judge(base, Frozen("", held, [], []), lent, RewardSettings(), settings.ratings)
    validation = Validation(base, None, questions, [pair.messages for pair in held], ppo, settings, seed, judge)
    stopping = Stopping(validation, settings, folder / "stopping")
    train_policy(
        base, None, None, None, reward, seen, ppo, AnchorSettings(strength=0.0), folder, seed, stopping=stopping
    )
    trained = time.monotonic() - begun

    items = load_suite("skills", size.gold, seed, "test")
    rows = [judged(base, None, 0, reward, persona, items, seed)]
    for check in stopping.checks:
        adapter = read_adapter(folder / f"stopping/step-{check.step}", base)
        rows.append(judged(base, adapter, check.step, reward, persona, items, seed))
    found = {
        "persona": persona,
        "seed": seed,
        "arm": arm,
        "accuracy": held_out_accuracy(reward, held),
        "trained_seconds": trained,
        "seconds": time.monotonic() - begun,
        **ended(rows, stopping.checks, StoppingSettings().patience),
    }
    result.write_text(json.dumps(found))
    return found


def judged(
    base: Base, adapter: Adapter | None, step: int, reward: RewardModel, persona: str, items: Sequence[Item], seed: int
) -> dict[str, Any]:
    """Gold of one answer to each item, each on its own, and mean proxy reward and length of them all."""
    engine = Engine(base, EngineSettings(slots=64, context=512))
    engine.install("policy", adapter)
    samplings = [Sampling(temperature=1.0, max_tokens=TOKENS, seed=seed * 10**6 + i) for i in range(len(items))]
    asked = [fit_chat(base, item.messages, engine.context - TOKENS) for item in items]
    answers = engine.generate(asked, samplings, "policy")
    texts = [answer.text for answer in answers]
    return {
        "step": step,
        "gold": [PERSONAS[persona].score(item, text) for item, text in zip(items, texts, strict=True)],
        "proxy": float(reward.score([item.messages for item in items], texts).value.mean()),
        "length": statistics.mean(len(answer.token_ids) for answer in answers),
    }


def held_out_accuracy(reward: RewardModel, pairs: Sequence[Pair]) -> float:
    """Share of the held-out pairs, as people judged them, of which the reward model prefers the better answer."""
    decided = [pair for pair in pairs if pair.outcome == 1.0]
    prompts = [pair.messages for pair in decided]
    better = reward.score(prompts, [pair.first for pair in decided]).mean
    return float((better > reward.score(prompts, [pair.second for pair in decided]).mean).float().mean())


def ended(rows: list[dict[str, Any]], checks: Sequence[Check], patience: int) -> dict[str, Any]:
    """Where the rule ends, what it keeps, and what that loses of the best gold along the whole training.

    Args:
        rows: of the parent and of every check, in their order.
        checks: the checks alone.
    """
    made = next((n for n in range(1, len(checks) + 1) if is_over(checks[:n], patience)), len(checks))
    kept = best_of(checks[:made]) or checks[-1]
    best = max(rows, key=lambda row: statistics.mean(row["gold"]))
    stop = next(row for row in rows if row["step"] == kept.step)
    gap = [a - b for a, b in zip(best["gold"], stop["gold"], strict=True)]
    sound = {0, *(check.step for check in checks if not check.broken)}
    allowed = max(statistics.mean(row["gold"]) for row in rows if row["step"] in sound)
    top, start, last = (statistics.mean(row["gold"]) for row in (best, rows[0], rows[-1]))
    by_step = {check.step: check for check in checks}
    curve = [
        {
            "step": row["step"],
            "kl": by_step[row["step"]].standing.kl if row["step"] else 0.0,
            "held_out": by_step[row["step"]].standing.gain if row["step"] else 0.0,
            "broken": list(by_step[row["step"]].broken) if row["step"] else [],
            "gold": statistics.mean(row["gold"]),
            "gold_error": statistics.stdev(row["gold"]) / math.sqrt(len(row["gold"])),
            "proxy": row["proxy"],
            "length": row["length"],
        }
        for row in rows
    ]
    return {
        "ended": checks[made - 1].step,
        "kept": kept.step,
        "best": best["step"],
        "gold_start": start,
        "gold_kept": top - statistics.mean(gap),
        "gold_best": top,
        "gold_last": last,
        "loss": statistics.mean(gap) / top,
        "loss_error": statistics.stdev(gap) / math.sqrt(len(gap)) / top,
        "gold_allowed": allowed,
        "loss_within_bounds": 1 - statistics.mean(stop["gold"]) / allowed,
        "loss_of_gain": statistics.mean(gap) / (top - start) if top > start else 0.0,
        "curve": curve,
    }


def plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Gold above, proxy below, along the root of the KL; a column an arm, a dot where the rule stops."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(ARMS), 5.4), layout="constrained")
    panels = figure.subplots(2, len(ARMS), sharex=True, sharey="row", squeeze=False)
    for column, arm in enumerate(ARMS):
        for row in (each for each in rows if each["arm"] == arm):
            at = [math.sqrt(max(0.0, point["kl"])) for point in row["curve"]]
            colour = {name: f"C{i}" for i, name in enumerate(PERSONAS)}[row["persona"]]
            kept = next(i for i, point in enumerate(row["curve"]) if point["step"] == row["kept"])
            for line, name in enumerate(("gold", "proxy")):
                values = [point[name] for point in row["curve"]]
                panels[line, column].plot(at, values, color=colour, linewidth=1.6, alpha=0.8, label=row["persona"])
                panels[line, column].plot(at[kept], values[kept], "o", color=colour, markersize=7)
        panels[0, column].set_title(arm)
        panels[1, column].set_xlabel("root of the KL to the parent")
    panels[0, 0].set_ylabel("hidden preference (gold)")
    panels[1, 0].set_ylabel("reward model (proxy)")
    names = dict(zip(*reversed(panels[0, 0].get_legend_handles_labels()), strict=True))
    panels[0, 0].legend(names.values(), names.keys(), frameon=False, fontsize=8)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By arm: mean gold at start, best, kept and in the end, and what the stop loses of the best."""
    found: dict[str, Any] = {}
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        figures = ("gold_start", "gold_best", "gold_allowed", "gold_kept", "gold_last")
        figures += ("loss", "loss_within_bounds", "loss_of_gain", "accuracy")
        found[arm] = {name: statistics.mean(row[name] for row in own) for name in figures}
        found[arm]["fall"] = 1 - found[arm]["gold_last"] / found[arm]["gold_best"]
    return found


def main() -> None:
    """Train, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persona", action="append", choices=list(PERSONAS), help="several times [courteous, terse]")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where trainings are kept [a temporary folder]")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything; writes nothing")
    chosen = parser.parse_args()
    personas = chosen.persona or ["courteous", "terse"]
    size = QUICK if chosen.quick else FULL
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    with TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        base = load_base("starter", device="cpu", dtype="float32")
        for seed in seeds:  # once, before two processes ask for the same
            for i, prompts in enumerate(size.worlds):
                make_world(base, "train", 300 + 2 * seed + i, prompts, 2, work)
        asked = list(product(personas, seeds, ARMS))
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            rows = list(pool.map(trial, *zip(*asked, strict=True), [size] * len(asked), [work] * len(asked)))
    found = {
        **machine("torch", "transformers", "trl", "peft"),
        "size": vars(size),
        "seeds": list(seeds),
        "aim": AIM,
        "arms": summary(rows),
        "worst_loss": max(row["loss"] for row in rows),
        "within_aim": sum(row["loss"] <= AIM for row in rows),
        "within_aim_of_allowed": sum(row["loss_within_bounds"] <= AIM for row in rows),
        "trainings": len(rows),
        "rows": rows,
    }
    print(found["machine"], found["versions"])
    print(
        f"{'persona':<11}{'reward':<22}{'gold: start':>12}{'best':>8}{'allowed':>8}{'kept':>8}{'last':>8}"
        f"{'loss':>16}{'allowed':>9}{'ended':>7}{'s':>6}"
    )
    for row in rows:
        golds = "".join(f"{row[name]:8.3f}" for name in ("gold_best", "gold_allowed", "gold_kept", "gold_last"))
        loss = f"{row['loss']:7.1%} ± {row['loss_error']:.1%}"
        print(
            f"{row['persona']:<11}{row['arm']:<22}{row['gold_start']:12.3f}{golds}{loss:>16}"
            f"{row['loss_within_bounds']:9.1%}{row['ended']:>7}{row['seconds']:6.0f}"
        )
    print(f"within {AIM:.0%} of the best gold: {found['within_aim']} of {len(rows)}; worst {found['worst_loss']:.1%}")
    print(f"within {AIM:.0%} of the best gold that keeps the bounds: {found['within_aim_of_allowed']} of {len(rows)}")
    if not chosen.quick:
        keep("overoptimisation", found)
        plot(rows, PLOT)


if __name__ == "__main__":
    main()
