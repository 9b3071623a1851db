"""How far a reward model can be trusted: its figures on the holdout, which it never saw, and on what was left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from lm.evaluation import wilson
from reward.calibration import Calibration, calibration_curve
from reward.evidence import FIRST, Evidence, Ratings, evidence_from
from reward.fit import MINIMUM, fit_heads
from reward.model import RewardModel
from store.frozen import Frozen

NAN = float("nan")
POINTS = 500  # of the plot of reward against length
PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the conversations, for the learning curve


@dataclass(frozen=True)
class RewardReport:
    """Figures of a reward model. A share comes as accuracy, low, high (95 % Wilson interval) and n; NaN where n is 0.

    Attributes:
        accuracy, low, high, n: share of decided pairs of the holdout whose preferred answer scores higher; of pairs
            that were drawn uniformly, for those drawn by the heads are the ones on which they disagree.
        ece: expected calibration error on the same, 0 to 1.
        by_kind: the same by kind. correction: what the person wrote scores higher; thumb, tags: the answer is on the
            side of the person's threshold that they said; score: of two answers of one person, the better scored one.
        crossfit: decided pairs of the training split, each by heads that learned nothing from its person or
            conversation; with ece, and ece_before the calibration.
        ceiling: how often two people agree on the same two answers.
        calibration: bins of the chance given to the answer thought better: chance, accuracy, n.
        length: use, as set in reward.length; slope and slope_raw in rewards per tenfold longer answer, as used and with
            all that the length heads learned; points of [tokens, reward, reward_raw].
        head_agreement: share of pairs on which two heads agree, averaged over all couples of heads.
        people: Krippendorff's alpha by kind, None where no two people judged the same.
        raters: `reward.judges.Judge` as JSON, the least believed first.
        curve: learning curve: ratings, and the share as above.
        new_people: what came from people whom nothing speaks for, in a sentence; empty where there are none.
        rules: by rule's name: mean, and share of rated answers on which it acts.
        regime: heads or lora.
        train, holdout: ratings in each split.
    """

    accuracy: float
    low: float
    high: float
    n: int
    ece: float
    by_kind: dict[str, dict[str, Any]]
    crossfit: dict[str, Any]
    ceiling: dict[str, Any]
    calibration: list[dict[str, float]]
    length: dict[str, Any]
    head_agreement: float
    people: dict[str, float | None]
    raters: list[dict[str, Any]]
    rules: dict[str, dict[str, float]]
    regime: str
    train: int
    holdout: int
    dataset: str
    curve: list[dict[str, Any]] = field(default_factory=list)
    new_people: str = ""

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return asdict(self)

    def to_text(self) -> str:
        """The report in a few lines."""
        lines = [
            f"{kind}: {row['accuracy']:.3f} right on the holdout [{row['low']:.3f}, {row['high']:.3f}], n={row['n']}"
            for kind, row in self.by_kind.items()
            if row["n"]
        ]
        if self.crossfit["n"]:
            lines.append(
                f"pairs of people left out in turn: {self.crossfit['accuracy']:.3f} right "
                f"[{self.crossfit['low']:.3f}, {self.crossfit['high']:.3f}], n={self.crossfit['n']}, "
                f"calibration error {self.crossfit['ece']:.3f}"
            )
        known = {"length slope {:+.2f}": self.length["slope"], "heads agree on {:.0%} of pairs": self.head_agreement}
        said = [text.format(figure) for text, figure in known.items() if math.isfinite(figure)]
        lines.append(", ".join([*said, f"{self.train} ratings to train on", f"{self.holdout} held out"]))
        if self.new_people:
            lines.append(f"new people: {self.new_people}")
        lines += [
            f"look at {each['person']}: {'; '.join(each['suspicions'])}" for each in self.raters if each["suspicions"]
        ]
        return "\n".join(lines)


@torch.no_grad()
def reward_report(
    model: RewardModel, frozen: Frozen, agreement: Mapping[str, float | None] | None = None
) -> RewardReport:
    """Measure a reward model on the holdout of the dataset that it was fitted to.

    Args:
        agreement: of people, by kind: `store.raters.agreement`.
    """
    train = evidence_from(frozen, "train")
    held = evidence_from(frozen, "holdout", people=model.people, tag_names=model.likelihoods.tag_names)
    features, tokens = model.trunk.features(held.prompts, held.texts)
    rewards = model.raw(features, tokens)
    mean = rewards.mean(0)
    difference = _decided(rewards, held.ratings["pair"])
    chance = model.calibration.chance(difference.mean(0))
    ece, curve = calibration_curve(chance)
    pair = _share(difference.mean(0) > 0)
    left_out = model.crossfit.difference[model.crossfit.uniform]
    return RewardReport(
        **pair,
        ece=ece,
        by_kind={"pair": pair, **_other_kinds(model, held, mean)},
        crossfit=_share(left_out > 0)
        | {
            "ece": calibration_curve(model.calibration.chance(left_out))[0],
            "ece_before": calibration_curve(Calibration().chance(left_out))[0],
        },
        ceiling=_ceiling(train, held),
        calibration=curve,
        length=_length(model, features, tokens, mean),
        head_agreement=_agreement(difference),
        people=dict(agreement or {}),
        raters=[asdict(each) for each in model.judges],
        rules=_rules(model, held),
        regime=model.trunk.regime,
        train=len(train),
        holdout=len(held),
        dataset=frozen.hash,
        new_people=frozen.of_new_people(),
    )


def learning_curve(
    model: RewardModel, frozen: Frozen, progress: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """Accuracy on the holdout's pairs of heads fitted to a part of the training conversations, small parts first.

    The heads of a tuned trunk are not fitted again: what they read has seen all of the ratings.
    """
    train, held = evidence_from(frozen, "train"), evidence_from(frozen, "holdout")
    if model.trunk.regime != "heads":
        return []
    read = [model.trunk.features(each.prompts, each.texts) for each in (train, held)]
    order = torch.randperm(train.groups, generator=torch.Generator().manual_seed(model.settings.seed))
    found = []
    for done, part in enumerate(PARTS):
        if progress:
            progress(done, len(PARTS))
        chosen = torch.zeros(train.groups, dtype=torch.bool)
        chosen[order[: round(part * train.groups)]] = True
        some = train.taken({kind: chosen[each.group] for kind, each in train.ratings.items()})
        if len(some) >= MINIMUM:
            fitted = fit_heads(*read[0], some, model.settings)
            rewards = fitted.heads(*read[1], model.settings.length)
            right = _decided(rewards, held.ratings["pair"]).mean(0) > 0
            found.append({"ratings": len(some), **_share(right)})
    return found


def _share(right: Tensor) -> dict[str, Any]:
    n, hits = len(right), int(right.sum())
    low, high = wilson(hits, n)
    return {"accuracy": hits / n if n else NAN, "low": low, "high": high, "n": n}


def _decided(rewards: Tensor, pairs: Ratings) -> Tensor:
    """[K, n] by how much the better answers of decided, uniformly drawn pairs score higher."""
    taken = pairs.taken((pairs.value == FIRST) & pairs.uniform)
    return rewards[:, taken.first] - rewards[:, taken.second]


def _other_kinds(model: RewardModel, held: Evidence, reward: Tensor) -> dict[str, dict[str, Any]]:
    correction, thumb, score, tags = (held.ratings[kind] for kind in ("correction", "thumb", "score", "tags"))
    threshold = _thresholds(model, len(held.people))
    side = tags.value @ model.likelihoods.side if tags.value.shape[1] else torch.zeros(len(tags))
    sided = tags.taken(side != 0)
    return {
        "correction": _share(reward[correction.first] > reward[correction.second]),
        "thumb": _share((reward[thumb.first] > threshold[thumb.person]) == (thumb.value > 0.5)),
        "score": _share(_couples_in_order(score, reward)),
        "tags": _share((reward[sided.first] > threshold[sided.person]) == (side[side != 0] > 0)),
    }


def _thresholds(model: RewardModel, people: int) -> Tensor:
    """[P] threshold of each person, on average over the heads; of those never met, what people ask on average."""
    *known, average = model.thresholds.mean(0).tolist()
    return torch.tensor([*known, *[average] * (people - len(known))])


def _couples_in_order(score: Ratings, reward: Tensor) -> Tensor:
    """Whether of two answers with different scores by one person the better scored one is paid more.

    Each rating stands in one couple at most, so that couples say something new each.
    """
    right: list[bool] = []
    waiting: dict[int, int] = {}
    for row in torch.randperm(len(score), generator=torch.Generator().manual_seed(0)).tolist():
        person, value = int(score.person[row]), float(score.value[row])
        other = waiting.pop(person, None)
        if other is None or float(score.value[other]) == value:
            waiting[person] = row
            continue
        better, worse = (row, other) if value > float(score.value[other]) else (other, row)
        right.append(bool(reward[score.first[better]] > reward[score.first[worse]]))
    return torch.tensor(right, dtype=torch.bool)


def _ceiling(*splits: Evidence) -> dict[str, Any]:
    """Of two people's decided verdicts on the same two answers, how many agree."""
    right = []
    for evidence in splits:
        pairs = evidence.ratings["pair"]
        said: dict[tuple[int, int], dict[int, bool]] = {}
        for first, second, value, person in zip(
            pairs.first.tolist(), pairs.second.tolist(), pairs.value.tolist(), pairs.person.tolist(), strict=True
        ):
            if value == FIRST:
                said.setdefault((min(first, second), max(first, second)), {})[person] = first < second
        for verdicts in said.values():
            right += [one == other for one, other in combinations(verdicts.values(), 2)]
    return _share(torch.tensor(right, dtype=torch.bool))


def _length(model: RewardModel, features: Tensor, tokens: Tensor, mean: Tensor) -> dict[str, Any]:
    kept = model.heads(features, tokens, "keep").mean(0)
    used, raw = mean / model.spread, kept / model.spread
    some = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))[:POINTS]
    points = torch.stack([tokens, used, raw], dim=1)[some]
    return {
        "use": model.settings.length,
        "slope": _slope(tokens, used),
        "slope_raw": _slope(tokens, raw),
        "points": points.tolist(),
    }


def _slope(tokens: Tensor, reward: Tensor) -> float:
    """Least-squares slope of reward [A] against the decimal logarithm of the answer's tokens [A]."""
    if len(reward) < 2:
        return NAN
    tenfold = tokens.clamp(min=1).log10()
    centred = tenfold - tenfold.mean()
    return float((centred * reward).sum() / (centred**2).sum().clamp(min=1e-12))


def _agreement(difference: Tensor) -> float:
    """Share of pairs [K, P] on which two different heads prefer the same answer."""
    heads, pairs = difference.shape
    if heads < 2 or not pairs:
        return NAN
    votes = (difference > 0).float().sum(0)
    same = votes * (votes - 1) + (heads - votes) * (heads - votes - 1)
    return float((same / (heads * (heads - 1))).mean())


def _rules(model: RewardModel, held: Evidence) -> dict[str, dict[str, float]]:
    paid = model.rule_figures(held.prompts, held.texts)
    return {
        name: {"mean": float(figures.mean()) if len(figures) else NAN, "share": float((figures != 0).float().mean())}
        for name, figures in paid.items()
    }
