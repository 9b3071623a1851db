"""The algorithms of an update beside each other: one persona's ratings, one budget, the persona's own verdict.

    python bench/algorithms.py [--persona courteous] [--prompts 300] [--algorithm dpo ...] [--rates 1e-4,3e-4]

People with a hidden preference rate answers of the starter: two answers to each prompt side by side, a thumb on the
first, and in its place the answer that they like best of eight more. Each algorithm starts from version 0 with these
ratings, held as in an update; PPO, GRPO and RLOO are paid by a reward model that was fitted to them.
Measured on held-out prompts: how often the hidden preference likes the candidate's answer better than version 0's, the
skills' accuracy, and the KL. `--rates` sweeps the learning rate. Prints a table and writes
bench/results/algorithms.json, a row an algorithm and rate; rows of others stay.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from machine import RESULTS, keep, machine

from chat.personas import Persona, find_persona, prefer, thumb
from lm.adapters import Adapter
from lm.engine import Engine
from lm.evaluation import accuracy_by_skill, answers_to, wilson
from lm.likelihood import mean_kl
from lm.loading import Base, load_base
from lm.prompts import fit_chat
from lm.settings import EngineSettings, Sampling
from lm.starter.skills import questions
from lm.suites import Item, load_suite
from reward.model import fit_reward
from reward.settings import RewardSettings
from rl.algorithms import offline_rate
from rl.policy import make_policy
from rl.settings import Algorithm, AlgorithmSettings, AnchorSettings, PPOSettings
from rl.training import measure_anchor, train_policy
from store.frozen import Frozen, Pair, Thumb

OFFLINE = ("dpo", "kto", "sft")
TOKENS = 96  # of an answer


def rated(base: Base, persona: Persona, items: list[Item]) -> Frozen:
    """What the persona says of ten answers to each item: a pair, a thumb, and a correction where one is better."""
    asked = [item for item in items for _ in range(10)]
    with Engine(base, EngineSettings(slots=64)) as engine:
        engine.install("base", None)
        answers = answers_to(engine, "base", asked, Sampling(temperature=1.0, max_tokens=TOKENS, seed=1))
    pairs, thumbs = [], []
    for i, item in enumerate(items):
        first, second, *more = answers[10 * i : 10 * i + 10]
        said = (f"person {i % 12}", f"conversation {i}", "train")
        outcome = prefer(persona, item.messages, first, second, item)
        better, worse = (second, first) if outcome == 0.0 else (first, second)
        if first != second:
            pairs.append(Pair(item.messages, better, worse, max(outcome, 1 - outcome), "pair", *said))
        thumbs.append(Thumb(item.messages, first, thumb(persona, item.messages, first, item) == 1, "thumb", *said))
        best = max(more, key=lambda answer: persona.score(item, answer))
        if prefer(persona, item.messages, best, first, item) == 1.0:
            pairs.append(Pair(item.messages, best, first, 1.0, "correction", *said))
    return Frozen("0" * 64, pairs, thumbs, [])


def judged(base: Base, persona: Persona, candidate: Adapter, held_out: list[Item], suite: list[Item]) -> dict[str, Any]:
    """The hidden preference's verdict on the candidate against version 0, skills, and KL in nats an answer."""
    with Engine(base, EngineSettings(slots=64)) as engine:
        engine.install("base", None)
        engine.install("candidate", candidate)
        sampling = Sampling(temperature=0.8, max_tokens=TOKENS, seed=2)
        ours, theirs = (answers_to(engine, name, held_out, sampling) for name in ("candidate", "base"))
        greedy = Sampling(temperature=0.0, max_tokens=TOKENS)
        before, after = (
            accuracy_by_skill(suite, answers_to(engine, name, suite, greedy)) for name in ("base", "candidate")
        )
        prompts = [fit_chat(base, item.messages, 384) for item in held_out]
        drawn = engine.generate(
            prompts, [Sampling(max_tokens=TOKENS, seed=i) for i in range(len(prompts))], "candidate"
        )
    wins = sum(prefer(persona, item.messages, a, b, item) for item, a, b in zip(held_out, ours, theirs, strict=True))
    policy = make_policy(base, candidate, PPOSettings(), 0)
    rows = [(ids + answer.token_ids, len(ids)) for ids, answer in zip(prompts, drawn, strict=True)]
    low, high = wilson(wins, len(held_out))
    return {
        "win_rate": wins / len(held_out),
        "low": low,
        "high": high,
        "skills_before": sum(before.values()) / len(before),
        "skills_after": sum(after.values()) / len(after),
        "largest_drop": max(before[skill] - after[skill] for skill in before),
        "kl": mean_kl(policy, base.model, rows, base.tokenizer.pad_token_id),
        "tokens": sum(len(each.token_ids) for each in drawn) / len(drawn),
    }


def main() -> None:
    """Rate, train, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persona", default="courteous")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--items", type=int, default=100, help="questions a skill")
    parser.add_argument("--algorithm", action="append", choices=get_args(Algorithm))
    parser.add_argument("--rates", help="learning rates to sweep, with commas between them")
    parser.add_argument("--updates", type=int, default=PPOSettings().updates, help="rollouts of PPO, GRPO and RLOO")
    given = parser.parse_args()
    base, persona = load_base("starter", "cpu"), find_persona(given.persona)
    frozen = rated(base, persona, questions("train", 0, given.prompts))
    held_out, suite = questions("test", 1, given.held_out), load_suite("skills", given.items, 0)
    prompts = [thumb.messages for thumb in frozen.thumbs]
    ppo = PPOSettings(updates=given.updates, max_tokens=TOKENS)
    reward = fit_reward(base, frozen, RewardSettings())
    anchor, replay, _ = measure_anchor(base, None, None, prompts, ppo, AnchorSettings(), 0)
    file = RESULTS / "algorithms.json"
    rows: dict[str, Any] = json.loads(file.read_text())["rows"] if file.is_file() else {}
    for algorithm in given.algorithm or get_args(Algorithm):
        knobs = AlgorithmSettings()
        rate = offline_rate(algorithm, knobs) if algorithm in OFFLINE else ppo.learning_rate
        for each in map(float, given.rates.split(",")) if given.rates else [rate]:
            folder = Path(tempfile.mkdtemp())
            begun = time.monotonic()
            swept = replace(knobs, learning_rate=each, sft_learning_rate=each)
            candidate, steps = train_policy(
                base, None, anchor, replay, reward, prompts, replace(ppo, learning_rate=each), AnchorSettings(),
                folder, 0, algorithm=algorithm, algorithms=swept, frozen=frozen,
            )  # fmt: skip
            seconds = time.monotonic() - begun
            shutil.rmtree(folder)
            row = {"persona": given.persona, "prompts": given.prompts, "steps": steps, "seconds": round(seconds, 1)}
            row |= judged(base, persona, candidate, held_out, suite)
            rows[f"{algorithm} {each:g}"] = row
            print(
                f"{algorithm:5} {each:8g}  win {row['win_rate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]  "
                f"skills {row['skills_before']:.3f} -> {row['skills_after']:.3f} (largest drop "
                f"{row['largest_drop']:+.3f})  KL {row['kl']:6.2f}  {row['tokens']:.0f} tokens  "
                f"{steps} steps, {seconds:.0f} s",
                flush=True,
            )
            keep("algorithms", machine("torch", "transformers", "trl", "peft") | {"rows": rows})


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
