"""Real preference pairs, each judged by methods that learned from other prompts: the trial's first part.

What a method said of a fold is written down as soon as it is known, so that a run that was cut off goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bag_of_words import words_margins
from stock import stock_margins, stock_trainer

from lm.evaluation import wilson
from lm.loading import Base
from reward.features import encode_pair
from reward.model import fit_reward
from reward.settings import RewardSettings
from reward.tuned import TunedTrunk
from store.formats.files import read_rows
from store.formats.known import format_of
from store.formats.rows import BadRow, ParsedPair
from store.frozen import Frozen, Pair

ROOT = Path(__file__).parent.parent
FOLDS = 5
SEED = 0  # of the folds


@dataclass(frozen=True)
class Trial:
    """What every method gets: pairs, their numbered prompts, and the fold of each."""

    base: Base
    settings: RewardSettings
    pairs: list[Pair]
    groups: list[int]
    folds: list[int]


def read_trial(base: Base, settings: RewardSettings, data: Path) -> Trial:
    """Pairs of a preference file, as an import would read them; the first answer is the better one.

    Raises:
        Problem: the file cannot be read or is of no known format.
        BadRow: a row is bad.
    """
    pairs: list[Pair] = []
    numbers: dict[str, int] = {}
    known = format_of(data, "auto")
    for _, row in read_rows(data):
        if isinstance(row, BadRow):
            raise row
        for each in known.parse(row):
            assert isinstance(each, ParsedPair)
            number = numbers.setdefault(json.dumps(each.prompt), len(numbers))
            about: dict[str, Any] = {"kind": "pair", "person": "import", "split": "train"}
            pairs.append(Pair(each.prompt, each.chosen, each.rejected, 1.0, conversation=f"c{number}", **about))
    groups = [int(pair.conversation[1:]) for pair in pairs]
    order = list(range(len(numbers)))
    random.Random(SEED).shuffle(order)
    fold = {group: place % FOLDS for place, group in enumerate(order)}
    return Trial(base, settings, pairs, groups, [fold[group] for group in groups])


Margins = dict[str, list[float]]  # by name, of each pair of a fold


def by_length(trial: Trial, fold: int) -> tuple[Margins, dict[str, Any]]:
    """The longer answer, in characters."""
    _, test = _split(trial, fold)
    longer = [float(len(trial.pairs[i].first) - len(trial.pairs[i].second)) for i in test]
    return {"longer": longer, "shorter": [-each for each in longer]}, {}


def by_words(trial: Trial, fold: int) -> tuple[Margins, dict[str, Any]]:
    """Bag of words."""
    train, test = _split(trial, fold)
    learned, asked = ([trial.pairs[i] for i in side] for side in (train, test))
    margins, strength = words_margins(learned, [trial.groups[i] for i in train], asked)
    return {"words": margins.tolist()}, {"strength": strength}


def by_stock(trial: Trial, fold: int) -> tuple[Margins, dict[str, Any]]:
    """TRL's trainer as it comes."""
    train, test = _split(trial, fold)
    with tempfile.TemporaryDirectory() as folder:
        trainer = stock_trainer(
            trial.base, [trial.pairs[i] for i in train], trial.settings, trial.settings.lora_epochs, Path(folder)
        )
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    margins = stock_margins(trainer, trial.base, [trial.pairs[i] for i in test], trial.settings)
    return {"stock": margins.tolist()}, {"losses": losses}


def by_ours(regime: Literal["heads", "lora"]) -> Method:
    """The reward model: the mean of its heads. With a tuned trunk also what that trunk says without the heads."""

    def method(trial: Trial, fold: int) -> tuple[Margins, dict[str, Any]]:
        train, test = _split(trial, fold)
        frozen = Frozen("0" * 64, [trial.pairs[i] for i in train], [], [])
        model = fit_reward(trial.base, frozen, replace(trial.settings, regime=regime))
        asked = [trial.pairs[i] for i in test]
        prompts = [pair.messages for pair in asked for _ in (0, 1)]
        answers = [text for pair in asked for text in (pair.first, pair.second)]
        rewards = model.score(prompts, answers).mean
        margins = {f"ours, {regime}": (rewards[::2] - rewards[1::2]).tolist()}
        if regime == "lora":
            assert isinstance(model.trunk, TunedTrunk)
            score = model.trunk.features(prompts, answers)[0] @ model.trunk.score_weight
            margins["ours, lora, without heads"] = (score[::2] - score[1::2]).tolist()
        return margins, {}

    return method


Method = Callable[[Trial, int], tuple[Margins, dict[str, Any]]]
METHODS: dict[str, Method] = {
    "length": by_length,
    "words": by_words,
    "heads": by_ours("heads"),
    "stock": by_stock,
    "lora": by_ours("lora"),
}
# Files on which a method's verdicts depend: once they have changed, it is asked again.
CODE: dict[str, list[str]] = {
    "length": [],
    "words": ["bench/bag_of_words.py"],
    "heads": ["reward/*.py"],
    "stock": ["bench/stock.py", "reward/features.py"],
    "lora": ["reward/*.py"],
}


def cross_validate(trial: Trial, work: Path) -> dict[str, Any]:
    """Every method on every fold, and what comes of it; what `work` knows already is not asked again."""
    work.mkdir(parents=True, exist_ok=True)
    what = [trial.base.fingerprint, asdict(trial.settings), [asdict(pair) for pair in trial.pairs], trial.folds]
    name = hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest()[:12]
    file = work / f"pairs-{trial.base.id.replace('/', '-')}-{name}.json"
    done: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    code = {method: _code(method) for method in METHODS}
    for method, judge in METHODS.items():  # the quick ones first
        for fold in range(FOLDS):
            if done.get(f"{method} {fold}", {}).get("code") == code[method]:
                continue
            begun = time.perf_counter()
            margins, facts = judge(trial, fold)
            seconds = time.perf_counter() - begun
            done[f"{method} {fold}"] = {"code": code[method], "margins": margins, "seconds": seconds, **facts}
            file.write_text(json.dumps(done))
            print(f"fold {fold}, {method}: {seconds:.0f} s", flush=True)
    return _summed(trial, done)


def _code(method: str) -> str:
    """Hash of what the method is written in."""
    files = sorted(file for pattern in CODE[method] for file in ROOT.glob(pattern))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _summed(trial: Trial, done: dict[str, Any]) -> dict[str, Any]:
    names = [name for method in METHODS for name in done[f"{method} 0"]["margins"]]
    right: dict[str, list[float]] = {name: [0.0] * len(trial.pairs) for name in names}
    for fold in range(FOLDS):
        _, test = _split(trial, fold)
        for method in METHODS:
            for name, margins in done[f"{method} {fold}"]["margins"].items():
                for i, margin in zip(test, margins, strict=True):
                    right[name][i] = 0.5 if margin == 0 else float(margin > 0)
    n = len(trial.pairs)
    methods = {}
    for name, each in right.items():
        low, high = wilson(sum(each), n)
        by_fold = [sum(each[i] for i in test) / len(test) for test in (_split(trial, f)[1] for f in range(FOLDS))]
        said = "".join({0.0: "0", 0.5: "=", 1.0: "1"}[one] for one in each)
        methods[name] = {"accuracy": sum(each) / n, "low": low, "high": high, "by_fold": by_fold, "right": said}
    return {
        "base": trial.base.id,
        "pairs": n,
        "prompts": len(set(trial.groups)),
        "read": _cut(trial),
        "methods": methods,
        "against_stock": {name: paired(right[name], right["stock"]) for name in names if name.startswith("ours")},
        "seconds": {method: [done[f"{method} {fold}"]["seconds"] for fold in range(FOLDS)] for method in METHODS},
        "strengths": [done[f"words {fold}"]["strength"] for fold in range(FOLDS)],
        "stock_losses": [done[f"stock {fold}"]["losses"] for fold in range(FOLDS)],
    }


def paired(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Difference of two accuracies on the same pairs, and whether it can be chance.

    McNemar's test, exact and two-sided, on the pairs of which one is right and the other wrong; the interval is Bonett
    and Price's (2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data"), 95 %.
    """
    gained = sum(a == 1 and b == 0 for a, b in zip(one, other, strict=True))
    lost = sum(a == 0 and b == 1 for a, b in zip(one, other, strict=True))
    apart, n = gained + lost, len(one)
    chance = min(1.0, 2 * sum(math.comb(apart, k) for k in range(min(gained, lost) + 1)) / 2**apart)
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = 1.96 * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    difference = (sum(one) - sum(other)) / n
    return {
        "difference": difference,
        "low": up - down - half,
        "high": up - down + half,
        "only_ours": gained,
        "only_stock": lost,
        "p": chance,
    }


def _cut(trial: Trial) -> dict[str, float]:
    """How much of the pairs the trunk gets to read: answers longer than their share of the context lose their end."""
    limit = min(trial.settings.context, trial.base.context)
    cut, tokens = [], 0
    for pair in trial.pairs:
        texts = (pair.first, pair.second)
        encoded = [encode_pair(trial.base, pair.messages, text, limit) for text in texts]
        whole = [len(trial.base.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        cut.append([n + 1 > len(ids) - start for n, (ids, start) in zip(whole, encoded, strict=True)])
        tokens += sum(len(ids) for ids, _ in encoded)
    return {
        "context": limit,
        "tokens_of_an_answer_with_its_prompt": tokens / 2 / len(trial.pairs),
        "pairs_with_an_answer_cut": sum(any(each) for each in cut),
        "pairs_with_both_cut": sum(all(each) for each in cut),
    }


def _split(trial: Trial, fold: int) -> tuple[list[int], list[int]]:
    """Numbers of the pairs to learn from and of those to judge."""
    test = [i for i, each in enumerate(trial.folds) if each == fold]
    return [i for i, each in enumerate(trial.folds) if each != fold], test
