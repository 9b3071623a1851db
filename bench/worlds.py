"""Answers of the starter and simulated people who rate them, without a server: what trials of the reward model share.

A world is a seed: prompts of the starter's training half (to be rated) and of its test half (to be judged by the hidden
preference itself), several sampled answers to each, and the frozen trunk's features of them. It is kept in a folder,
since making one takes two minutes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chat.personas import Persona, prefer
from chat.rater_minds import Rater, opinion
from lm.engine import Engine
from lm.loading import Base
from lm.prompts import fit_chat
from lm.settings import EngineSettings, Sampling
from lm.starter.skills import questions
from lm.suites import Item
from reward.evidence import Evidence, evidence_from
from reward.features import trunk_features
from reward.heads import Heads
from reward.settings import LengthUse
from store.frozen import Frozen, Pair, Score, Tagged, Thumb

TOKENS = 120  # of an answer, at most
CONTEXT = 512
VERDICTS = {"left": 1.0, "right": 1.0, "tie": 0.5, "both_bad": 0.0}


@dataclass
class World:
    """Prompts with `each` answers, their features [N * each, D] and tokens; more texts get features as they come."""

    base: Base
    items: list[Item]
    texts: list[str]
    features: Tensor
    tokens: Tensor
    each: int
    _more: dict[tuple[str, str], tuple[Tensor, float]] = field(default_factory=dict)

    def answers(self, number: int) -> list[str]:
        """The answers to a prompt."""
        return self.texts[number * self.each : (number + 1) * self.each]

    def read(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Features and tokens of the evidence's answers."""
        if not self._more:
            for row, text in enumerate(self.texts):
                key = json.dumps(self.items[row // self.each].messages), text
                self._more[key] = self.features[row], float(self.tokens[row])
        keys = [(json.dumps(list(p)), t) for p, t in zip(evidence.prompts, evidence.texts, strict=True)]
        new = [i for i, key in enumerate(keys) if key not in self._more]
        if new:
            read = trunk_features(
                self.base, [evidence.prompts[i] for i in new], [evidence.texts[i] for i in new], context=CONTEXT
            )
            for place, i in enumerate(new):
                self._more[keys[i]] = read[0][place], float(read[1][place])
        found = [self._more[key] for key in keys]
        return torch.stack([each[0] for each in found]), torch.tensor([each[1] for each in found])


def make_world(base: Base, split: str, seed: int, prompts: int, each: int, folder: Path) -> World:
    """A world, from the folder if it was made before."""
    folder.mkdir(parents=True, exist_ok=True)
    items = questions(split, seed, prompts)
    file = folder / f"{split}-{seed}-{prompts}-{each}.pt"
    if not file.is_file():
        engine = Engine(base, EngineSettings(slots=64, queue=prompts * each))
        asked = [fit_chat(base, item.messages, engine.context - TOKENS) for item in items for _ in range(each)]
        samplings = [Sampling(temperature=1.0, max_tokens=TOKENS, seed=seed * 10**6 + i) for i in range(len(asked))]
        with engine:
            texts = [done.text for done in engine.generate(asked, samplings, "0")]
        messages = [item.messages for item in items for _ in range(each)]
        features, tokens = trunk_features(base, messages, texts, context=CONTEXT)
        torch.save({"texts": texts, "features": features, "tokens": tokens}, file)
    kept = torch.load(file, weights_only=True)
    return World(base, items, kept["texts"], kept["features"], kept["tokens"], each)


def rated(
    world: World,
    people: Sequence[Rater],
    kinds: dict[str, float],
    ratings: int,
    seed: int,
    noise: float = 0.1,
) -> Frozen:
    """So many ratings by these people, each of a prompt of its own, as a frozen dataset.

    Args:
        kinds: share of each kind of rating; a correction that nobody has to give gives way to the next prompt.
        noise: share of honest people's ratings in which they err.
    """
    rng = random.Random(f"rated|{seed}")
    pairs: list[Pair] = []
    rows: dict[str, list[Any]] = {"thumb": [], "score": [], "tags": []}
    for number, item in enumerate(world.items):
        if len(pairs) + sum(map(len, rows.values())) == ratings:
            break
        person = rng.choice(people)
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        answers = world.answers(number)[:2]
        if not answers[0].strip() or (kind == "pair" and answers[0] == answers[1]):
            continue
        said = opinion(person, kind, item, answers, rng, rng.random() < noise)
        about = {"messages": item.messages, "person": person.name, "conversation": f"c{number}", "split": "train"}
        if kind == "pair":
            first, second = answers[::-1] if said == "right" else answers
            pairs.append(Pair(first=first, second=second, outcome=VERDICTS[said], kind="pair", **about))
        elif kind == "correction":
            if said and said != answers[0]:
                pairs.append(Pair(first=said, second=answers[0], outcome=1.0, kind="correction", **about))
        elif kind == "thumb":
            rows["thumb"].append(Thumb(answer=answers[0], liked=said == 1, kind="thumb", **about))
        elif kind == "score":
            rows["score"].append(Score(answer=answers[0], score=said, **about))
        elif said:
            rows["tags"].append(Tagged(answer=answers[0], tags=sorted(set(said)), **about))
    return Frozen("0" * 64, pairs, rows["thumb"], [], rows["score"], rows["tags"])


def evidence_of(frozen: Frozen) -> Evidence:
    """All of a dataset's ratings."""
    return evidence_from(frozen, "train")


def hidden_verdicts(world: World, persona: Persona) -> Tensor:
    """[N] the noise-free preference between the first two answers to each prompt: 1, 0, or 0.5 for a tie."""
    verdicts = []
    for number, item in enumerate(world.items):
        first, second = world.answers(number)[:2]
        verdicts.append(prefer(persona, item.messages, first, second, item))
    return torch.tensor(verdicts)


@torch.no_grad()
def accuracy(heads: Heads, world: World, verdicts: Tensor, use: LengthUse = "cost") -> float:
    """Share of the decided pairs of a world on which the mean head agrees with the hidden preference."""
    rewards = heads(world.features, world.tokens, use).mean(0).view(-1, world.each)
    difference, decided = rewards[:, 0] - rewards[:, 1], verdicts != 0.5
    return float(((difference > 0) == (verdicts > 0.5))[decided].float().mean())
