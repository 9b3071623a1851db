"""The whole loop on a real instruction-tuned model: a program with a hidden preference rates, an update runs, the
program judges it.

    python bench/real_loop.py --model FOLDER [--ratings 120] [--prompts 100] [--seed 0] [--folder HOME]

The program likes answers of 15 to 25 words without lists. It asks instructions of alpaca_en_demo.json (in the folder
`shared` beside the project) through the API, compares two answers or gives a thumb, and one in ten of its verdicts is
turned round. Then `ratchet update` on defaults, and its own verdict on other instructions at the chat's temperature.
Prints the training's curve and the verdict, and writes bench/results/real_loop.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import httpx
from loop import ratchet, server
from machine import keep, machine

INSTRUCTIONS = Path(__file__).parent.parent.parent / "shared/data/alpaca_en_demo.json"
SHORTEST, LONGEST = 15, 25  # words that the program likes
LISTED = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
PEOPLE, PAIRS, FLIPPED = 8, 0.7, 0.1  # raters; share of comparisons; share of verdicts turned round
AT_ONCE = 8  # requests


def liking(answer: str) -> float:
    """The hidden preference: 0 for 15 to 25 words without a list, less by a word too many or too few, and by a list."""
    words = len(answer.split())
    off = max(SHORTEST - words, words - LONGEST, 0)
    return -off / LONGEST - bool(LISTED.search(answer))


@dataclass(frozen=True)
class Task:
    """One rating to be given."""

    prompt: str
    person: str
    pair: bool
    flipped: bool


async def rate(url: str, model: str, tasks: list[Task]) -> None:
    """Give all ratings through the API."""
    waiting = iter(tasks)

    async def person() -> None:
        for task in waiting:
            answered = (await client.post("/v1/chat/completions", json={
                "messages": [{"role": "user", "content": task.prompt}], "n": 2 if task.pair else 1, "user": task.person,
            })).raise_for_status().json()  # fmt: skip
            scores = [liking(choice["message"]["content"]) for choice in answered["choices"]]
            ids = [choice["generation"] for choice in answered["choices"]]
            body: dict[str, Any] = {"id": ids[0], "user": task.person}
            if task.pair:
                better = (
                    "tie" if scores[0] == scores[1] else "left" if (scores[0] > scores[1]) != task.flipped else "right"
                )
                body |= {"kind": "pair", "other": ids[1], "value": better}
            else:
                body |= {"kind": "thumb", "value": 1 if (scores[0] > -0.5) != task.flipped else -1}
            (await client.post("/v1/feedback", json=body)).raise_for_status()

    async with httpx.AsyncClient(base_url=url, timeout=600) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(person())


def judge(model: str, home: Path, version: int, prompts: list[str], seed: int) -> dict[str, Any]:
    """The program's verdict on a version against version 0, one answer of each to each prompt; ties count half."""
    from lm.adapters import read_adapter
    from lm.engine import Engine
    from lm.evaluation import wilson
    from lm.prompts import encode_chat
    from lm.serviceable import load_serviceable
    from lm.settings import EngineSettings, Sampling
    from store.database import open_store
    from store.schema import Version

    base = load_serviceable(model)
    store = open_store(home)
    with store.session(reading=True) as session:
        folder = home / str(session.get_one(Version, version).adapter)
    store.close()
    ids = [encode_chat(base, [{"role": "user", "content": prompt}]) for prompt in prompts]
    samplings = [Sampling(seed=seed + i, max_tokens=512) for i in range(len(ids))]
    with Engine(base, EngineSettings(context=1024)) as engine:
        engine.install("base", None)
        engine.install("new", read_adapter(folder, base))
        texts = {name: [done.text for done in engine.generate(ids, samplings, name)] for name in ("base", "new")}
    scores = {name: [liking(text) for text in each] for name, each in texts.items()}
    wins = sum(new > old for old, new in zip(scores["base"], scores["new"], strict=True))
    ties = sum(new == old for old, new in zip(scores["base"], scores["new"], strict=True))
    low, high = wilson(wins + ties / 2, len(prompts))
    return {
        "win_rate": (wins + ties / 2) / len(prompts),
        "low": low,
        "high": high,
        "wins": wins,
        "ties": ties,
        "n": len(prompts),
        "words": {name: sum(len(text.split()) for text in each) / len(each) for name, each in texts.items()},
        "examples": [{"prompt": p, **{name: texts[name][i] for name in texts}} for i, p in enumerate(prompts[:10])],
    }


def curve(home: Path, update: int) -> list[dict[str, float]]:
    """What was logged of each rollout."""
    found = [*(home / "updates" / str(update)).glob("train*/curve.jsonl")]
    rows = [json.loads(line) for line in found[0].read_text(encoding="utf-8").splitlines()] if found else []
    wanted = ("step", "ppo/score", "reward/std", "reward/clipped", "ppo/ended", "ppo/length", "ppo/kl",
              "ppo/logp_difference")  # fmt: skip
    return [{name: row[name] for name in wanted if name in row} for row in rows if "ppo/score" in row]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of an instruction-tuned model")
    parser.add_argument("--ratings", type=int, default=120)
    parser.add_argument("--prompts", type=int, default=100, help="other instructions that are judged on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the home is kept [a temporary folder]")
    chosen = parser.parse_args()
    rows = json.loads(INSTRUCTIONS.read_text(encoding="utf-8"))
    prompts = sorted({f"{row['instruction']}\n{row['input']}".strip() for row in rows})
    draw = random.Random(chosen.seed)
    draw.shuffle(prompts)
    asked, others = prompts[: chosen.ratings], prompts[chosen.ratings : chosen.ratings + chosen.prompts]
    tasks = [
        Task(p, f"person {i % PEOPLE}", draw.random() < PAIRS, draw.random() < FLIPPED) for i, p in enumerate(asked)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        home = (chosen.folder or Path(temporary)).resolve()
        begun = time.monotonic()
        with server(home, chosen.model) as url:
            started = time.monotonic() - begun
            asyncio.run(rate(url, chosen.model, tasks))
        rated = time.monotonic() - begun - started
        status, update, seconds = ratchet(home, "update", "--model", chosen.model)
        found: dict[str, Any] = {
            "model": Path(chosen.model).name, "seed": chosen.seed, "ratings": chosen.ratings,
            "start_seconds": started, "rating_seconds": rated, "update_seconds": seconds, "exit_status": status,
            "update": update, "curve": curve(home, update.get("update") or 1),
        }  # fmt: skip
        if update.get("version"):
            found["judge"] = judge(chosen.model, home, update["version"], others, chosen.seed)
    keep("real_loop", machine("torch", "transformers", "trl", "peft") | found)
    for row in found["curve"]:
        print({name: round(value, 3) for name, value in row.items()})
    print(f"started in {started:.0f} s, ratings {rated:.0f} s, update {seconds:.0f} s, exit {status}")
    print(json.dumps({key: value for key, value in update.items() if key != "checks"}))
    for check in update.get("checks", []):
        print(f"  {'ok    ' if check['passed'] else 'FAILED'} {check['name']}: {check['why']}")
    if "judge" in found:
        verdict = found["judge"]
        print({key: value for key, value in verdict.items() if key != "examples"})
        for each in verdict["examples"][:4]:
            print(each)


if __name__ == "__main__":
    sys.exit(main())
