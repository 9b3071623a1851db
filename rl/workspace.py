"""What the steps of an update read: its folder, its knobs, the base and the parent version; and the training step.

It knows no store, so that the processes of a training, which `rl.launch` starts, can have one each.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from lm.adapters import Adapter, read_adapter, write_adapter
from lm.loading import Base
from lm.suites import load_suite
from problems import Problem
from reward.model import RewardModel, load_reward
from reward.readable import without
from reward.settings import RewardSettings
from rl.anchor import load_anchor
from rl.interpolation import interpolated
from rl.replay import load_replay
from rl.rollout import Server
from rl.settings import AlgorithmSettings, AnchorSettings, GateSettings, PPOSettings, StoppingSettings, UpdateSettings
from rl.stopping import Stopping
from rl.training import Progress, train_policy
from rl.validation import Validation, held_out_judge, watched
from store.frozen import Frozen, Messages
from store.holdout import opening

SECTIONS = {
    "reward": RewardSettings,
    "ppo": PPOSettings,
    "algorithms": AlgorithmSettings,
    "anchor": AnchorSettings,
    "stopping": StoppingSettings,
    "gate": GateSettings,
    "update": UpdateSettings,
}


@dataclass(frozen=True)
class Knobs:
    """Everything that an update's result depends on besides the store and the base; kept in the update's row."""

    reward: RewardSettings
    ppo: PPOSettings
    anchor: AnchorSettings
    stopping: StoppingSettings
    gate: GateSettings
    update: UpdateSettings
    algorithms: AlgorithmSettings = field(default_factory=AlgorithmSettings)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Knobs:
        """What `asdict` wrote; a section that an older edition did not have takes its defaults."""
        return Knobs(**{name: section(**data.get(name, {})) for name, section in SECTIONS.items()})


def prompts_of(frozen: Frozen, split: str) -> list[Messages]:
    """The prompts of a split of a dataset. Raises Problem where it has none (status 3)."""
    prompts = [prompt.messages for prompt in frozen.prompts if prompt.split == split]
    if not prompts:
        raise Problem(
            f"No conversation fell into the {split} split yet.",
            hint="A few more rated conversations will do.",
            status=3,
        )
    return prompts


class Workspace:
    """An update's folder with what its steps made of it so far.

    Args:
        folder: `updates/<id>`.
        base: that the store's versions stand on.
        knobs: that the update began with.
        parent_folder: adapter of the version that it starts from; None for the base itself.
        progress: called with what is done, how far, and of how much.
        server: who answers rollouts where `ppo.rollouts` is vllm.
    """

    def __init__(
        self,
        folder: Path,
        base: Base,
        knobs: Knobs,
        parent_folder: Path | None,
        progress: Progress,
        server: Server | None = None,
    ) -> None:
        self.folder, self.base, self.knobs, self.progress, self.server = folder, base, knobs, progress, server
        self.seed = knobs.update.seed
        self.parent_folder = parent_folder
        self.parent: Adapter | None = read_adapter(parent_folder, base) if parent_folder else None

    def facts(self, name: str) -> dict[str, Any]:
        """What a step that is done noted."""
        return dict(json.loads((self.folder / name / "step.json").read_text(encoding="utf-8")))

    @property
    def ppo(self) -> PPOSettings:
        """PPO's settings with the length of answers that this dataset gives, where they leave it open."""
        longest = self.knobs.ppo.max_tokens or self.facts("dataset")["answer_tokens"]
        return replace(self.knobs.ppo, max_tokens=longest)

    def dataset(self) -> Frozen:
        """The ratings and prompts, without the rows that were left out because the model cannot read them."""
        left_out = self.facts("dataset").get("left_out_rows", [])
        return without(Frozen.from_json(self.folder / "dataset"), ((each["kind"], each["row"]) for each in left_out))

    def reward_model(self) -> RewardModel:
        """The reward model that was fitted to them."""
        return load_reward(self.folder / "reward", self.base)

    def prompts(self, split: str) -> list[Messages]:
        """The prompts of a split. Raises Problem where it has none (status 3)."""
        return prompts_of(self.dataset(), split)

    def train(self, work: Path) -> dict[str, Any]:
        """The training step, in this process or as one of several; the main one writes the candidate's adapter.

        Returns:
            On the main process: optimizer steps, the adapter's hash, what interpolation could not keep, and whether the
            time that training may take was over; nothing on the others.
        """
        measured = self.folder / "anchor"
        stopping = Stopping(self._validation(), self.knobs.stopping, work / "stopping")
        adapter, steps = train_policy(
            self.base,
            self.parent,
            load_anchor(measured / "anchor.safetensors", self.base.device) if self.knobs.anchor.strength else None,
            load_replay(measured / "replay.safetensors"),
            self.reward_model(),
            self.prompts("train"),
            self.ppo,
            self.knobs.anchor,
            work,
            self.seed,
            self.progress,
            stopping,
            algorithm=self.knobs.update.algorithm,
            algorithms=self.knobs.algorithms,
            frozen=self.dataset(),
            server=self.server,
            ending=self.facts("anchor").get("ending"),
        )
        if not PartialState().is_main_process:
            return {}
        between = interpolated(self.parent, adapter, self.knobs.anchor.share)
        digest = write_adapter(work / "adapter", between.adapter, self.base)
        if (information := measured / "anchor.safetensors").is_file():
            shutil.copy(information, work / "adapter" / information.name)  # what was replayed holds people's words
        for passed in (*work.glob("checkpoint-*"), work / "stopping"):
            shutil.rmtree(passed, ignore_errors=True)
        found = {"steps": steps, "adapter_hash": digest, "interpolation_error": between.error}
        return found | {"out_of_time": stopping.late}

    def held_out(self) -> tuple[list[Messages], list[Messages]]:
        """Held-out prompts: those that the checks of the training see, and those that are the gate's alone."""
        prompts, stopping = self.prompts("holdout"), self.knobs.stopping
        lent = watched(prompts, stopping.watched if stopping.every else 0.0)
        sides: tuple[list[Messages], list[Messages]] = ([], [])
        for prompt in prompts:
            sides[opening(prompt) not in lent].append(prompt)
        return sides

    def _validation(self) -> Validation | None:
        """What the training is checked by; None where no checks are wanted, and on all processes but the first."""
        settings = self.knobs.stopping
        if not settings.every or os.environ.get("RANK", "0") != "0":
            return None
        prompts, _ = self.held_out()
        lent = {opening(prompt) for prompt in prompts}
        judge = held_out_judge(self.base, self.dataset(), lent, self.knobs.reward, settings.ratings)
        questions = load_suite(self.knobs.update.suite, settings.skill_items, self.seed, "validation")
        return Validation(self.base, self.parent, questions, prompts, self.ppo, settings, self.seed, judge)
