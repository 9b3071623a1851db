"""The reward model against TRL's stock reward trainer: accuracy on real preference pairs, and time of a fit.

    python bench/preferences.py [--part pairs --part speed] [--data FILE] [--model starter] [--threads N]

pairs       five-fold cross-validation by prompt on a file of preferences: the longer answer, a bag of words, TRL's
            trainer with LoRA, and ours with heads on the frozen trunk and with a tuned one. All defaults of the
            settings, nothing chosen on the folds that are judged.
speed       a fit to 10,000 pairs of starter answers, by part, against epochs of stock. An epoch of stock is timed on a
            part of the pairs, in turn with ours on the same ones, and scaled to all.

Prints tables and writes bench/results/preferences.json; a part leaves the other as it was.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import fit_times
import torch
from cross_validation import cross_validate, read_trial
from machine import RESULTS, keep, machine

from lm.loading import load_base
from reward.settings import RewardSettings

DATA = Path(__file__).parent.parent.parent / "shared/data/dpo_en_demo.json"


def show_pairs(found: dict[str, Any]) -> None:
    """A row a method."""
    read = found["read"]
    print(
        f"\naccuracy on {found['pairs']} pairs, {found['prompts']} prompts, base {found['base']} "
        f"({read['pairs_with_an_answer_cut']} pairs have an answer that is cut to fit {read['context']} tokens)"
    )
    for name, each in found["methods"].items():
        print(f"{name:25} {each['accuracy']:.3f}  [{each['low']:.3f}, {each['high']:.3f}]")
    for name, each in found["against_stock"].items():
        print(
            f"{name} - stock: {each['difference']:+.3f} [{each['low']:+.3f}, {each['high']:+.3f}], alone right "
            f"{each['only_ours']:.0f} : {each['only_stock']:.0f}, p = {each['p']:.3f}"
        )
    print("seconds of a fold", {name: round(sum(each) / len(each), 1) for name, each in found["seconds"].items()})


def show_speed(found: dict[str, Any]) -> None:
    """Parts, then ratios."""
    run = found["ours"]["median_run"]
    print(f"\n{found['pairs']} pairs of {found['distinct_answers']} answers: {run['seconds']:.1f} s (median)")
    for part, seconds in run["by_part"].items():
        print(f"{part:10} {seconds:7.1f} s  {run['passes_by_fit'].get(part, '')}")
    print(f"an epoch of stock, scaled from {found['subset']['pairs']} pairs: {found['stock_epoch_scaled']:.1f} s")
    for epochs, ratio in found["against_stock"].items():
        print(f"ours to {epochs} epochs of stock: {ratio:.3f}")
    print(f"on the {found['subset']['pairs']} pairs, in turn: ours to an epoch of stock {found['subset']['ratio']:.3f}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=["pairs", "speed"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--epochs", type=int, help="of stock and of the tuned trunk alike; as set by default")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--pairs", type=int, default=10_000, help="of the part speed")
    parser.add_argument("--subset", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/preferences"))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    facts = machine("torch", "transformers", "trl", "peft")
    print(f"{facts['machine']} {facts['versions']}", flush=True)
    base, settings = load_base(given.model), RewardSettings()
    if given.epochs:
        settings = replace(settings, lora_epochs=given.epochs)
    file = RESULTS / "preferences.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for part in given.part or ["pairs", "speed"]:
        if part == "pairs":
            found = cross_validate(read_trial(base, settings, given.data), given.work)
            found["epochs"] = settings.lora_epochs
            show_pairs(found)
        else:
            found = fit_times.measure(base, settings, given.pairs, given.subset, given.runs, given.work)
            show_speed(found)
        results.setdefault(part, {})[base.id] = facts | found
        keep("preferences", results)
    print(f"written to {file}")


if __name__ == "__main__":
    main()
