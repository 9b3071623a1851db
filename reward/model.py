"""The reward model: trunk, heads, calibration and scale in one thing that scores answers and is kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm.loading import Base
from lm.prompts import Message
from problems import Problem
from reward.calibration import Calibration
from reward.evidence import Evidence, evidence_from
from reward.fit import MINIMUM, Crossfit, Fitted, check_enough, fit_heads
from reward.folds import folds
from reward.heads import USES, Heads
from reward.judges import Judge, judges
from reward.likelihoods import Likelihoods
from reward.rules import apply_rules, counts_tokens
from reward.settings import RewardSettings
from reward.trunk import FrozenTrunk, Trunk
from reward.tuned import load_tuned
from reward.tuning import tune_trunk
from store.frozen import Frozen

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scores:
    """Rewards of N answers, in deviations of the rated answers' rewards.

    Attributes:
        members: [K, N] by head, each told from its own mean over the rated answers.
        mean, deviation: [N] over the heads; the deviation says how far they disagree.
        heads: [N] the heads as one reward, as `reward.combine` says, clipped.
        clipped: [N] whether it stands at that bound.
        rules: [N] by rule's name, weighted.
        value: [N] heads and rules together: what PPO is paid.
    """

    members: Tensor
    mean: Tensor
    deviation: Tensor
    heads: Tensor
    clipped: Tensor
    rules: dict[str, Tensor]
    value: Tensor


@dataclass(frozen=True)
class RewardModel:
    """Heads on a trunk, with the scale on which their rewards are read.

    Attributes:
        trunk: what turns answers into features.
        heads, likelihoods: K heads, and what each kind of rating means beside them.
        spread: deviation of the ensemble's reward over the rated answers. One for all heads: how large a reward is they
            learn from the ratings, as they do its sign, so that to disagree on it is to disagree; each divided by its
            own, a head that learned next to nothing would speak as loudly as the others.
        calibration: from differences of rewards, on the heads' own scale, to chances.
        crossfit: verdicts on the training split's pairs, by heads that learned nothing from their people.
        judges: the people, and how far each is believed.
        dataset: hash of the ratings that it was fitted to.
    """

    trunk: Trunk
    heads: Heads
    likelihoods: Likelihoods
    calibration: Calibration
    crossfit: Crossfit
    spread: float
    settings: RewardSettings
    judges: list[Judge]
    people: list[str]
    dataset: str

    @property
    def base(self) -> Base:
        """The language model whose trunk it stands on."""
        return self.trunk.base

    def raw(self, features: Tensor, tokens: Tensor) -> Tensor:
        """[K, N] rewards on the heads' own scale, with length as `reward.length` says."""
        return self.heads(features, tokens, self.settings.length)

    @property
    def thresholds(self) -> Tensor:
        """[K, P + 1] the reward that each person asks for by each head, on the scale of `raw`; last comes what people
        ask on average.

        They were fitted beside rewards that all of the length counted in and that were not told from their mean.
        """
        asked = torch.cat([self.likelihoods.threshold, self.likelihoods.demand[:, None]], dim=1)
        return asked - self.heads.centre[USES.index("keep")][:, None]

    def members(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """[K, N] reward of each head for N answers to N prompts, in deviations; without rules."""
        return self.raw(*self.trunk.features(prompts, answers, progress)) / self.spread

    def score(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> Scores:
        """Rewards of N answers to N prompts."""
        members = self.members(prompts, answers, progress)
        mean = members.mean(0)
        deviation = members.std(0) if len(members) > 1 else torch.zeros_like(mean)
        combined = {
            "mean": mean,
            "pessimistic": mean - self.settings.pessimism * deviation,
            "minimum": members.min(0).values,
        }[self.settings.combine]
        bound = self.settings.clip
        heads, rules = combined.clamp(-bound, bound), self.rule_figures(prompts, answers)
        return Scores(members, mean, deviation, heads, combined.abs() >= bound, rules, heads + sum(rules.values()))

    def rule_figures(self, prompts: Sequence[Sequence[Message]], answers: Sequence[str]) -> dict[str, Tensor]:
        """What each rule takes away from N answers, by its name: [N]. Tokens are those of the whole text."""
        lengths = None
        if answers and counts_tokens(self.settings.rules):
            lengths = [len(ids) for ids in self.base.tokenizer(list(answers), add_special_tokens=False)["input_ids"]]
        return apply_rules(self.settings.rules, prompts, answers, lengths) if answers else {}

    def save(self, folder: Path) -> None:
        """Write `reward.safetensors` and `reward.json` into `folder`, which is made, and the trunk if it was tuned."""
        folder.mkdir(parents=True, exist_ok=True)
        self.trunk.save(folder, (self.heads.quality / self.heads.scale).mean(0))
        tensors = {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        tensors |= {f"likelihoods.{name}": value for name, value in self.likelihoods.state_dict().items()}
        tensors |= {f"crossfit.{name}": value for name, value in vars(self.crossfit).items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "reward.safetensors")
        facts = {
            "base": self.base.id,
            "fingerprint": self.base.fingerprint,
            "regime": self.trunk.regime,
            "dataset": self.dataset,
            "calibration": asdict(self.calibration),
            "spread": self.spread,
            "people": self.people,
            "judges": [asdict(each) for each in self.judges],
            "tags": self.likelihoods.tag_names,
            "settings": asdict(self.settings),
        }
        (folder / "reward.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def fit_reward(
    base: Base,
    frozen: Frozen,
    settings: RewardSettings,
    progress: Progress | None = None,
    work: Path | None = None,
) -> RewardModel:
    """Fit a reward model to the training split of a frozen dataset.

    Args:
        progress: called with what is done, how far, and of how much.
        work: where the figures of tuning a trunk are written; nowhere by default.

    Raises:
        Problem: too few ratings (status 3).
    """
    tell = progress or (lambda label, done, total: None)
    evidence = evidence_from(frozen, "train")
    answers = len(evidence.texts)
    trunk: Trunk = FrozenTrunk(base, settings.context)
    features, tokens = trunk.features(
        evidence.prompts, evidence.texts, lambda done: tell("features of rated answers", done, answers)
    )
    fitted = fit_heads(features, tokens, evidence, settings, progress=partial(tell, "reward model, steps"))
    if regime_of(settings, base, len(evidence)) == "lora":
        trunk, fitted, features, tokens = _on_tuned_trunk(base, evidence, fitted, settings, tell, work)
    rewards = fitted.heads(features, tokens, settings.length).mean(0)
    return RewardModel(
        trunk=trunk,
        heads=fitted.heads,
        likelihoods=fitted.likelihoods,
        calibration=fitted.calibration,
        crossfit=fitted.crossfit,
        spread=float(rewards.std(correction=0).clamp(min=1e-6)),
        settings=settings,
        judges=judges(fitted.people, fitted.together, evidence),
        people=evidence.people,
        dataset=frozen.hash,
    )


def check_ratings(base: Base, frozen: Frozen, settings: RewardSettings) -> None:
    """Raise Problem (status 3) where the training split holds too few ratings for a reward model of these settings."""
    evidence = evidence_from(frozen, "train")
    check_enough(evidence)
    if regime_of(settings, base, len(evidence)) == "lora":
        _heads_share(evidence, settings)


def _heads_share(evidence: Evidence, settings: RewardSettings) -> tuple[dict[str, Tensor], Evidence]:
    """Which ratings the trunk learns from, and those that are left for the heads of a tuned one."""
    learned, asked = folds(evidence, torch.Generator().manual_seed(settings.seed))
    rest = evidence.taken({kind: mask[0].bool() for kind, mask in asked.items()})
    if len(rest) < MINIMUM:
        raise Problem(
            f"{len(evidence)} ratings leave {len(rest)} for the heads of a tuned trunk, which need {MINIMUM}.",
            hint='Collect more ratings, or set reward.regime to "heads".',
            status=3,
        )
    return learned, rest


def regime_of(settings: RewardSettings, base: Base, ratings: int) -> str:
    """ "heads" or "lora": as set, else a LoRA trunk from `reward.lora_from` ratings on, where there is a GPU."""
    if settings.regime != "auto":
        return settings.regime
    return "lora" if ratings >= settings.lora_from and base.device.type == "cuda" else "heads"


def _on_tuned_trunk(
    base: Base, evidence: Evidence, first: Fitted, settings: RewardSettings, tell: Progress, work: Path | None
) -> tuple[Trunk, Fitted, Tensor, Tensor]:
    """Tune a trunk on four fifths of the people; the heads learn from the last fifth, which it has not seen.

    Heads fitted to what their trunk was trained on would think too much of themselves. Whom to believe is kept from the
    fit on the frozen trunk, which has seen everybody.

    Returns:
        Trunk and fit, and features and tokens of the answers that the heads learned from.
    """
    learned, rest = _heads_share(evidence, settings)
    weights = {kind: first.people.weights[kind] * learned[kind][0] for kind in learned}
    with TemporaryDirectory() as folder:
        trunk = tune_trunk(base, evidence, weights, settings, work or Path(folder), partial(tell, "tuning the trunk"))
    features, tokens = trunk.features(evidence.prompts, evidence.texts)
    fitted = fit_heads(features, tokens, rest, settings, centre=trunk.score_weight)
    rated = rest.rated()
    return trunk, replace(fitted, people=first.people, together=first.together), features[rated], tokens[rated]


def load_reward(folder: Path, base: Base) -> RewardModel:
    """Read a reward model that `RewardModel.save` wrote.

    Raises:
        Problem: no reward model there, one that was fitted on another base, or by an older edition.
    """
    facts_file = folder / "reward.json"
    if not facts_file.is_file():
        raise Problem(f"No reward model in {folder}.", hint="Fit one with `ratchet reward fit`.")
    facts: dict[str, Any] = json.loads(facts_file.read_text(encoding="utf-8"))
    if facts["fingerprint"] != base.fingerprint:
        raise Problem(
            f"The reward model in {folder} was fitted on {facts['base']} ({facts['fingerprint']}), "
            f"not on {base.id} ({base.fingerprint}).",
            hint="Fit a new one with `ratchet reward fit`.",
        )
    tensors = load_file(folder / "reward.safetensors")
    if "regime" not in facts or "heads.shortest" not in tensors:
        raise Problem(
            f"The reward model in {folder} is from an older edition, which did not keep within what range of answers "
            "it was fitted.",
            hint="Fit a new one with `ratchet reward fit`.",
        )
    settings = RewardSettings(**facts["settings"])

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}

    weights = part("heads")
    heads = Heads(weights["quality"].shape[1], len(weights["quality"]))
    heads.load_state_dict(weights)
    likelihoods = Likelihoods(len(weights["quality"]), len(facts["people"]), facts["tags"])
    likelihoods.load_state_dict(part("likelihoods"))
    return RewardModel(
        trunk=FrozenTrunk(base, settings.context) if facts["regime"] == "heads" else load_tuned(folder, base),
        heads=heads.requires_grad_(False).eval(),
        likelihoods=likelihoods.requires_grad_(False),
        calibration=Calibration(**facts["calibration"]),
        crossfit=Crossfit(**part("crossfit")),
        spread=facts["spread"],
        settings=settings,
        judges=[Judge(**each) for each in facts["judges"]],
        people=facts["people"],
        dataset=facts["dataset"],
    )


def newest_reward(home: Path) -> Path | None:
    """Folder of the reward model fitted last in a store's home, by hand or by an update's step; None without one."""
    found = [*home.glob("reward/reward.json"), *home.glob("updates/*/reward/reward.json")]
    return max(found, key=lambda file: file.stat().st_mtime).parent if found else None
