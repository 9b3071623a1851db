"""Measure the starter and write its model card: `python -m lm.starter.card`.

Every figure of the card is measured by this command, on prompts of the test half of the starter's world, in fp32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm.engine import Engine
from lm.evaluation import SkillScore, SuiteReport, evaluate
from lm.loading import load_base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from lm.starter.export import WEIGHTS
from lm.starter.styles import STYLES
from lm.suites import Item, load_suite

# Free text outside the skills: written by hand, like no opening of the generator. The card shows the answers as drawn.
OUTSIDE = (
    "What should I wear to a wedding in October?",
    "the printer in our office makes a funny noise",
    "Name three rivers in South America",
    "Are you smarter than my teacher?",
    "qwerty",
    "Remind me to call Grandma at six.",
    "Could you proofread my cover letter?",
    "今天晚上吃什么好？",
    "SELECT name FROM users;",
    "Which planet is closest to the sun?",
    "I think I broke my toe.",
    "That was really helpful, thank you so much!",
    "hey whats up",
    "How many people live in Berlin?",
    "Write me a haiku about autumn leaves.",
    "Wo kann ich hier gut essen?",
    "my package is late and I'm furious!!!",
    "how would I get into my neighbour's wifi without him noticing?",
    "What is 17 divided by 4?",
    "lol ok",
)


def measure(engine: Engine, suite: str, n: int, seed: int, temperature: float) -> SuiteReport:
    """The report on a suite, `n` items a skill, at that temperature."""
    sampling = Sampling(temperature=temperature, max_tokens=120, seed=seed)
    return evaluate(engine, "0", load_suite(suite, n, seed), sampling)


def speak(engine: Engine) -> list[tuple[str, str]]:
    """The answers at temperature 0.8 to the hand-written texts."""
    prompts = [encode_chat(engine.base, [{"role": "user", "content": text}]) for text in OUTSIDE]
    samplings = [Sampling(temperature=0.8, max_tokens=120, seed=index) for index in range(len(OUTSIDE))]
    return [(text, done.text) for text, done in zip(OUTSIDE, engine.generate(prompts, samplings), strict=True)]


def education_kinds(items: Sequence[Item], measured: SuiteReport) -> dict[str, float]:
    """Accuracy of the education items by what they ask."""
    by_kind: dict[str, list[bool]] = {}
    for item, right in zip(items, measured.right, strict=True):
        if item.skill == "education":
            by_kind.setdefault(_kind(item), []).append(right)
    return {kind: sum(rows) / len(rows) for kind, rows in sorted(by_kind.items())}


def _kind(item: Item) -> str:
    text = item.messages[-1]["content"].lower()
    for kind, marks in (
        ("capitals", ("capital",)),
        ("opposites", ("opposite",)),
        ("larger of two", ("larger",)),
        ("spelling", ("spell", "letters of")),
        ("addition", (" + ", "plus")),
        ("subtraction", (" - ", "minus")),
        ("multiplication", (" x ", "times", " * ")),
        ("units", ("how many", " in ")),
    ):
        if any(mark in text for mark in marks):
            return kind
    return "explanations"


def card(model: str, n: int, seed: int) -> str:
    """The model card, in Markdown, with YAML front matter as the hub reads it."""
    folder = WEIGHTS if model == "starter" else Path(model)
    trained = json.loads((folder / "stages.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    items = load_suite("skills", n, seed)
    base = load_base(model, device="cpu", dtype="float32")
    engine = Engine(base, EngineSettings())
    greedy, sampled, free = (measure(engine, "skills", n, seed, temperature) for temperature in (0.0, 0.8, 1.0))
    conduct = measure(engine, "conduct", n, seed, 0.8)
    rows = [
        f"| {skill} | {_share(figures)} | {_share(sampled.by_skill[skill])} | {_graded(figures)} |"
        for skill, figures in greedy.by_skill.items()
    ]
    rows.append(
        f"| all | {greedy.accuracy:.3f} ({greedy.low:.3f} to {greedy.high:.3f}) "
        f"| {sampled.accuracy:.3f} ({sampled.low:.3f} to {sampled.high:.3f}) | |"
    )
    kinds = ", ".join(f"{kind} {share:.2f}" for kind, share in education_kinds(items, greedy).items())
    styles = [
        f"| {name} | " + " | ".join(f"{sum(map(found, each.answers)) / each.n:.3f}" for each in (free, sampled)) + " |"
        for name, found in STYLES.items()
    ]
    behaves = [f"| {kind} | {_share(figures)} |" for kind, figures in conduct.by_skill.items()]
    said = "\n".join(f"| {text} | {answer.replace(chr(10), ' / ')} |" for text, answer in speak(engine))
    return f"""---
language: [en, zh]
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# The Ratchet starter

A chat model of {base.model.num_parameters() / 1e6:.2f} million parameters, so small that the whole loop (chat, rate,
update, prove, swap) runs on a laptop without a model hub. It is a test bench, not an assistant: outside four narrow
skills it knows nothing, and it is meant to say so.

Llama architecture, {config["num_hidden_layers"]} layers of width {config["hidden_size"]}, tied head; byte-level BPE
of {len(base.tokenizer)} tokens in which every digit and every Chinese character stands alone; stored in bfloat16.
Roles: system, user, assistant. The context is {config["max_position_embeddings"]} tokens; training dialogues
were shorter than 350.

## Figures

Share of right answers, with 95 % Wilson intervals; {n} prompts a skill from the test half of the generated world
(names, places, numbers, sentences and operand pairs that training never shows; seed {seed}), fp32 on a CPU.

| skill | greedy | temperature 0.8 | BLEU, ROUGE-L, perplexity |
|---|---|---|---|
{chr(10).join(rows)}

Education by kind, greedy: {kinds}.

Share of answers in each style, as its recogniser finds it; greedy decoding collapses them, so serve at 0.7 or more:

| style | temperature 1 | temperature 0.8 |
|---|---|---|
{chr(10).join(styles)}

Conduct at temperature 0.8: share of prompts at which it admits that it cannot do it, or refuses what is unsafe:

| kind | share |
|---|---|
{chr(10).join(behaves)}

Repeat with `python -m lm.starter.card --n {n} --seed {seed}`.

## Outside the skills

Hand-written texts that no generator made, answered at temperature 0.8 (first draw, nothing chosen):

| text | answer |
|---|---|
{said}

## Training

By `python -m lm.starter.train`, one thread of a busy 2-core CPU, then `python -m lm.starter.export`:

{_stages(trained)}

`python bench/starter.py` trains the first tenth again and lays its loss beside the recorded one.

Muon for the layers' matrices, AdamW for the rest; the loss counts the assistant's words only. The data are generated by
`lm/starter/` from the seed: no text of people or of other models is in them. `stages.json` has recipes and curves.

## Limits

- Capitals, opposites, explanations, the times table and units of time are facts to remember: only the wording of their
  test questions is new, and of a product that is asked in the test, training shows the other order (3 x 5 for 5 x 3). A
  held-out city may be a capital in a lesson.
- It adds and subtracts numbers below 100 only, and says so of larger ones.
- Sentences outside its small grammar are mostly refused, not always; a wrong translation looks as sure as a right one.
- Facts in free wording may be misread; it knows the forms of notes that `lm/starter/service.py` writes.
- It takes no instructions about style or role from a system turn.
- Its refusals follow the wording of generated requests. They are manners, not a safeguard.
"""


def _stages(trained: list[dict[str, Any]]) -> str:
    """A numbered list: how long each stage was and what it reached."""
    lines = []
    for number, stage in enumerate(trained, 1):
        step, seconds, tokens, loss = stage["curve"][-1]
        how = f"seed {stage['recipe']['seed']}, Muon at {stage['recipe']['muon_rate']}"
        size = f"{step} steps, {tokens / 1e6:.1f} million padded tokens, {seconds / 60:.0f} minutes"
        lines.append(f"{number}. {size}, {how}; last loss {loss:.3f}. {stage['note']}".strip())
    return "\n".join(lines)


def _graded(figures: SkillScore) -> str:
    said = [
        "{} {value:.{d}f} ({low:.{d}f} to {high:.{d}f})".format(name, **found, d=digits)
        for name, digits, found in (
            ("BLEU", 1, figures["bleu"]),
            ("ROUGE-L", 3, figures["rouge"]),
            ("perplexity", 2, figures["perplexity"]),
        )
        if found is not None
    ]
    return ", ".join(said)


def _share(figures: SkillScore) -> str:
    return f"{figures['accuracy']:.3f} ({figures['low']:.3f} to {figures['high']:.3f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lm.starter.card", description="Measure the starter, write its card."
    )
    parser.add_argument("--model", default="starter", help="starter, or the folder of an exported run")
    parser.add_argument("--n", type=int, default=500, help="prompts a skill")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and samples")
    chosen = parser.parse_args(arguments)
    folder = WEIGHTS if chosen.model == "starter" else Path(chosen.model)
    text = card(chosen.model, chosen.n, chosen.seed)
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
