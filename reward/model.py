"""The reward model: base, heads, temperature and scale in one thing that scores answers and can be kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

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
from reward.settings import RewardSettings
from store.datasets import Frozen


@dataclass(frozen=True)
class Scores:
    """Rewards of N answers, in deviations of the rated answers' rewards around their mean.

    Attributes:
        mean: [N] over the heads.
        deviation: [N] of the heads, how far they disagree.
        value: [N] mean minus `pessimism` deviations, clipped: what PPO is paid.
    """

    mean: Tensor
    deviation: Tensor
    value: Tensor


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
        rewards = self.members(prompts, answers, progress)
        mean, deviation = rewards.mean(0), rewards.std(0)
        clip = self.settings.clip
        return Scores(mean, deviation, (mean - self.settings.pessimism * deviation).clamp(-clip, clip))

    def members(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Each head's own reward of N answers to N prompts, [K, N], on the scale of `score`, not clipped."""
        features = trunk_features(self.base, prompts, answers, context=self.settings.context, progress=progress)
        with torch.no_grad():
            return cast(Tensor, (self.heads(features) - self.centre) / self.spread)

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


def newest_reward(home: Path) -> Path | None:
    """The folder of the reward model that `ratchet reward fit` or an update wrote last; None where there is none.

    An update's step counts once it is finished: until then its folder has another name.
    """
    written = [facts for pattern in ("reward", "updates/*/reward") for facts in home.glob(f"{pattern}/reward.json")]
    return max(written, key=lambda facts: facts.stat().st_mtime_ns).parent if written else None
