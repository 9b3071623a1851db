"""The reward model: base, heads, temperature and scale in one thing that scores answers and can be kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm.loading import Base
from lm.prompts import Message
from problems import Problem
from reward.evidence import evidence_from
from reward.features import trunk_features
from reward.fit import fit_heads
from reward.heads import Heads
from reward.rules import apply_rules, counts_tokens
from reward.settings import RewardSettings
from store.datasets import Frozen


@dataclass(frozen=True)
class Scores:
    """Rewards of N answers, in deviations of the rated answers' rewards around their mean.

    Attributes:
        mean: [N] over the heads.
        deviation: [N] of the heads, how far they disagree.
        value: [N] mean minus `pessimism` deviations, clipped, plus what the rules add: what PPO is paid.
        rules: by the rule's name [N], what it adds, in [-weight, 0].
    """

    mean: Tensor
    deviation: Tensor
    value: Tensor
    rules: dict[str, Tensor]

    @property
    def heads(self) -> Tensor:
        """The heads' part of the value [N]."""
        return self.value - sum(self.rules.values())


@dataclass(frozen=True)
class RewardModel:
    """Heads on a base's frozen trunk, with the scale on which their rewards are read.

    Attributes:
        centre, spread: mean and deviation of the ensemble's reward over the rated answers.
        temperature: of preference chances, on the heads' own scale.
        dataset: hash of the ratings that it was fitted to.
    """

    base: Base
    heads: Heads
    temperature: float
    centre: float
    spread: float
    settings: RewardSettings
    dataset: str
    people: list[str]

    def score(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> Scores:
        """Rewards of N answers to N prompts."""
        features = trunk_features(self.base, prompts, answers, context=self.settings.context, progress=progress)
        with torch.no_grad():
            rewards = (self.heads(features) - self.centre) / self.spread
        mean, deviation = rewards.mean(0), rewards.std(0)
        clip = self.settings.clip
        heads = (mean - self.settings.pessimism * deviation).clamp(-clip, clip)
        rules = self._rules(prompts, answers)
        return Scores(mean, deviation, heads + sum(rules.values()), rules)

    def _rules(self, prompts: Sequence[Sequence[Message]], answers: Sequence[str]) -> dict[str, Tensor]:
        lengths = None
        if answers and counts_tokens(self.settings.rules):
            lengths = [len(ids) for ids in self.base.tokenizer(list(answers), add_special_tokens=False)["input_ids"]]
        return apply_rules(self.settings.rules, prompts, answers, lengths or [])

    def save(self, folder: Path) -> None:
        """Write `reward.safetensors` and `reward.json` into `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.heads.state_dict(), folder / "reward.safetensors")
        facts = {
            "base": self.base.id,
            "fingerprint": self.base.fingerprint,
            "dataset": self.dataset,
            "temperature": self.temperature,
            "centre": self.centre,
            "spread": self.spread,
            "people": self.people,
            "settings": asdict(self.settings),
        }
        (folder / "reward.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def fit_reward(
    base: Base,
    frozen: Frozen,
    settings: RewardSettings,
    progress: Callable[[int], None] | None = None,
) -> RewardModel:
    """Fit a reward model to the training split of a frozen dataset.

    Raises:
        Problem: too few ratings (status 3).
    """
    evidence = evidence_from(base, frozen, "train", context=settings.context)
    heads, temperature = fit_heads(evidence, settings, progress)
    with torch.no_grad():
        rewards = heads(evidence.features).mean(0)
    return RewardModel(
        base=base,
        heads=heads,
        temperature=temperature,
        centre=float(rewards.mean()),
        spread=float(rewards.std().clamp(min=1e-6)),
        settings=settings,
        dataset=frozen.hash,
        people=evidence.people,
    )


def load_reward(folder: Path, base: Base) -> RewardModel:
    """Read a reward model that `RewardModel.save` wrote.

    Raises:
        Problem: no reward model there, or one that was fitted on another base.
    """
    facts_file = folder / "reward.json"
    if not facts_file.is_file():
        raise Problem(f"No reward model in {folder}.", hint="Fit one with `ratchet reward fit`.")
    facts = json.loads(facts_file.read_text(encoding="utf-8"))
    if facts["fingerprint"] != base.fingerprint:
        raise Problem(
            f"The reward model in {folder} was fitted on {facts['base']} ({facts['fingerprint']}), "
            f"not on {base.id} ({base.fingerprint}).",
            hint="Fit a new one with `ratchet reward fit`.",
        )
    settings = RewardSettings(**facts["settings"])
    weights = load_file(folder / "reward.safetensors")
    heads = Heads(
        len(weights["mean"]), settings.hidden, settings.heads, weights["threshold"].shape[1], settings.dropout
    )
    heads.load_state_dict(weights)
    return RewardModel(
        base=base,
        heads=heads.eval(),
        temperature=facts["temperature"],
        centre=facts["centre"],
        spread=facts["spread"],
        settings=settings,
        dataset=facts["dataset"],
        people=facts["people"],
    )
