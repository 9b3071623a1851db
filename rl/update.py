"""An update: from the ratings in the store to a version that serves, or to the reasons why not.

A row in the store and a folder `updates/<id>/` in the store's home. Each step reads the folder, writes its result into
`<step>.tmp`, renames it to `<step>` and records itself; a step whose folder stands is done. Killed at any point, the
next update goes on at the first unfinished step, training at its last checkpoint.

    dataset   frozen ratings and prompts, with their hash
    reward    reward model and its report on the holdout
    anchor    Fisher information of the serving version, and the answers that it was measured on
    train     PPO or another algorithm: the candidate's adapter, learning curves, checkpoints, checks
    gate      checks and verdict
    version   the candidate in the store; promoted if the gate passed it
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from lm.adapters import Adapter, read_adapter, write_adapter
from lm.loading import Base
from lm.suites import load_suite
from problems import Problem
from reward.model import RewardModel, fit_reward, load_reward
from reward.report import reward_report
from reward.settings import RewardSettings, dataset_knobs
from rl.anchor import load_anchor
from rl.comparison import compare
from rl.gate import Check, comparison_checks, integrity_checks, reward_check
from rl.hold import check_anchor_settings
from rl.interpolation import interpolated
from rl.preference_data import check_evidence
from rl.replay import load_replay
from rl.settings import AlgorithmSettings, AnchorSettings, GateSettings, PPOSettings, StoppingSettings, UpdateSettings
from rl.stopping import Stopping
from rl.training import Progress, measure_anchor, train_policy
from rl.validation import Validation, watched
from store.database import Store
from store.datasets import freeze
from store.frozen import Frozen, Messages
from store.holdout import opening
from store.people import record_trained_on
from store.raters import agreement
from store.schema import Update, Version
from store.updates import finish_update, record_step, start_update, unfinished, update_lock
from store.versions import add_version, promote, serving

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


@dataclass(frozen=True)
class UpdateReport:
    """How an update ended: `verdict` is promoted, rejected or nothing; `version` is None where none was made."""

    update: int | None
    verdict: str
    version: int | None
    dataset: str
    checks: list[Check]
    seconds: float
    why: str


def run_update(
    store: Store, base: Base, knobs: Knobs, *, force: bool = False, progress: Progress | None = None
) -> UpdateReport:
    """Run one update, or go on with one that was cut off.

    Args:
        store: where the ratings are and the version goes.
        base: the model that the store's versions stand on.
        knobs: settings; a resumed update keeps those it began with.
        force: run even when there are few ratings or none that are new.
        progress: called with what is done, how far, and of how much.

    Raises:
        Problem: another update runs; a step cannot be done; the algorithm has nothing to learn from (status 3).
    """
    check_anchor_settings(knobs.anchor)
    with update_lock(store):
        with store.session(reading=True) as session:
            begun = unfinished(session)
        frozen: Frozen | None = None
        if begun is None:
            with store.session(reading=True) as session:
                frozen = freeze(session, seed=knobs.update.seed, **dataset_knobs(knobs.reward))
                idle = _nothing_to_do(frozen, _last_dataset(session), knobs.update.min_ratings, force)
            if idle:
                return UpdateReport(None, "nothing", None, frozen.hash, [], 0.0, idle)
            check_evidence(knobs.update.algorithm, frozen)
            with store.session() as session:
                settings = asdict(knobs) | {"parent": serving(session).id}
                begun = start_update(
                    session, algorithm=knobs.update.algorithm, seed=knobs.update.seed, settings=settings
                )
        return _Run(store, base, begun, progress or (lambda label, done, total: None), frozen).finish()


def _nothing_to_do(frozen: Frozen, last: str | None, least: int, force: bool) -> str:
    """Why there is nothing to do; empty when there is something."""
    if not frozen.ratings:
        return "there are no ratings"
    if force:
        return ""
    if frozen.ratings < least:
        return f"there are {frozen.ratings} ratings, fewer than the {least} that an update waits for"
    return "no opinion has changed since the last update" if frozen.hash == last else ""


def _last_dataset(session: Any) -> str | None:
    rows = select(Update.report).where(Update.finished.is_not(None)).order_by(Update.id.desc()).limit(1)
    report = session.scalar(rows)
    return report["dataset"] if report else None


class _Run:
    """One update on its way: the folder, and the steps in their order.

    `frozen` is the dataset that told that there is something to do; an update that goes on after a cut has none yet.
    """

    def __init__(self, store: Store, base: Base, row: Update, progress: Progress, frozen: Frozen | None = None) -> None:
        self.frozen = frozen
        self.store, self.base, self.id, self.progress = store, base, row.id, progress
        self.knobs = Knobs.from_json(row.settings)
        self.seed = self.knobs.update.seed
        self.folder = store.home / "updates" / str(row.id)
        self.folder.mkdir(parents=True, exist_ok=True)
        with store.session() as session:
            parent = session.get_one(Version, row.settings["parent"])
            self.parent_id = parent.id
            self.parent_folder = store.home / parent.adapter if parent.adapter else None
        self.parent: Adapter | None = read_adapter(self.parent_folder, base) if self.parent_folder else None

    def finish(self) -> UpdateReport:
        """Do every step that is not done, then close the update's row."""
        steps: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
            ("dataset", self._dataset),
            ("reward", self._reward),
            ("anchor", self._anchor),
            ("train", self._train),
            ("gate", self._gate),
            ("version", self._version),
        ]
        for name, step in steps:
            if not (self.folder / name).is_dir():
                self._do(name, step)
        verdict = self._facts("version")
        checks = [Check(**check) for check in self._facts("gate")["checks"]]
        seconds = sum(self._facts(name)["seconds"] for name, _ in steps)
        report = UpdateReport(
            self.id,
            verdict["verdict"],
            verdict["version"],
            self._facts("dataset")["hash"],
            checks,
            seconds,
            verdict["why"],
        )
        with self.store.session() as session:
            finish_update(session, self.id, report.verdict, report.version, asdict(report))
        return report

    def _do(self, name: str, step: Callable[[Path], dict[str, Any]]) -> None:
        begun = time.monotonic()
        work = self.folder / f"{name}.tmp"
        if name != "train":  # training picks up its own checkpoints, everything else starts clean
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(exist_ok=True)
        self.progress(name, 0, 1)
        facts = step(work) | {"seconds": round(time.monotonic() - begun, 2)}
        (work / "step.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
        work.rename(self.folder / name)
        with self.store.session() as session:
            record_step(session, self.id, name, "done", facts)

    def _facts(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / name / "step.json").read_text(encoding="utf-8")))

    def _frozen(self) -> Frozen:
        return Frozen.from_json(self.folder / "dataset")

    def _loaded_reward(self) -> RewardModel:
        return load_reward(self.folder / "reward", self.base)

    def _prompts(self, split: str) -> list[list[dict[str, str]]]:
        prompts = [prompt.messages for prompt in self._frozen().prompts if prompt.split == split]
        if not prompts:
            raise Problem(
                f"No conversation fell into the {split} split yet.",
                hint="A few more rated conversations will do.",
                status=3,
            )
        return prompts

    def _dataset(self, work: Path) -> dict[str, Any]:
        frozen = self.frozen
        if frozen is None:
            with self.store.session(reading=True) as session:
                frozen = freeze(session, seed=self.seed, **dataset_knobs(self.knobs.reward))
        with self.store.session() as session:
            record_trained_on(session, self.id, frozen)
        frozen.to_json(work)
        return {
            "hash": frozen.hash,
            "ratings": frozen.ratings,
            **{kind: len(rows) for kind, rows in frozen.by_kind().items()},
        }

    def _reward(self, work: Path) -> dict[str, Any]:
        frozen = self._frozen()
        model = fit_reward(self.base, frozen, self.knobs.reward, self.progress, work)
        model.save(work)
        with self.store.session(reading=True) as session:
            report = reward_report(model, frozen, agreement(session))
        (work / "report.json").write_text(json.dumps(report.to_json(), indent=2), encoding="utf-8")
        return {name: getattr(report, name) for name in ("accuracy", "low", "high", "n", "crossfit")}

    def _anchor(self, work: Path) -> dict[str, Any]:
        older_file = self.parent_folder / "anchor.safetensors" if self.parent_folder else None
        anchor, replay = measure_anchor(
            self.base,
            self.parent,
            load_anchor(older_file) if older_file and older_file.is_file() else None,
            self._prompts("train"),
            self.knobs.ppo,
            self.knobs.anchor,
            self.seed,
            self.progress,
        )
        anchor.save(work / "anchor.safetensors")
        replay.save(work / "replay.safetensors")
        return {"samples": self.knobs.anchor.samples, "trace": sum(float(f.sum()) for f in anchor.fisher.values())}

    def _train(self, work: Path) -> dict[str, Any]:
        adapter, steps = train_policy(
            self.base,
            self.parent,
            load_anchor(self.folder / "anchor" / "anchor.safetensors", self.base.device),
            load_replay(self.folder / "anchor" / "replay.safetensors"),
            self._loaded_reward(),
            self._prompts("train"),
            self.knobs.ppo,
            self.knobs.anchor,
            work,
            self.seed,
            self.progress,
            Stopping(self._validation(), self.knobs.stopping, work / "stopping"),
            algorithm=self.knobs.update.algorithm,
            algorithms=self.knobs.algorithms,
            frozen=self._frozen(),
        )
        between = interpolated(self.parent, adapter, self.knobs.anchor.share)
        digest = write_adapter(work / "adapter", between.adapter, self.base)
        for name in ("anchor.safetensors", "replay.safetensors"):
            shutil.copy(self.folder / "anchor" / name, work / "adapter" / name)
        for passed in (*work.glob("checkpoint-*"), work / "stopping"):
            shutil.rmtree(passed, ignore_errors=True)
        return {"steps": steps, "adapter_hash": digest, "interpolation_error": between.error}

    def _held_out(self) -> tuple[list[Messages], list[Messages]]:
        """Held-out prompts: those that the checks of the training see, and those that are the gate's alone."""
        prompts, stopping = self._prompts("holdout"), self.knobs.stopping
        lent = watched(prompts, stopping.watched if stopping.every else 0.0)
        sides: tuple[list[Messages], list[Messages]] = ([], [])
        for prompt in prompts:
            sides[opening(prompt) not in lent].append(prompt)
        return sides

    def _validation(self) -> Validation | None:
        """What the training is checked by; None where the settings want no checks."""
        settings = self.knobs.stopping
        if not settings.every:
            return None
        reward, (prompts, _) = self._loaded_reward(), self._held_out()
        lent = {opening(prompt) for prompt in prompts}
        pairs = [p for p in self._frozen().pairs if p.split == "holdout" and opening(p.messages) in lent]
        questions = load_suite(self.knobs.update.suite, settings.skill_items, self.seed, "validation")
        return Validation(
            self.base,
            self.parent,
            questions,
            pairs,
            prompts,
            self.knobs.ppo,
            settings,
            self.seed,
            judge=lambda asked, answers: reward.score(asked, answers).mean,
        )

    def _gate(self, work: Path) -> dict[str, Any]:
        candidate = read_adapter(self.folder / "train" / "adapter", self.base)
        checks = integrity_checks(self.parent, candidate, self._facts("train")["steps"])
        facts: dict[str, Any] = {}
        if all(check.passed for check in checks):
            measured = compare(
                self.base,
                self.parent,
                candidate,
                self._loaded_reward(),
                self._held_out()[1],
                load_suite(self.knobs.update.suite, self.knobs.gate.skill_items, self.seed, "test"),
                self.knobs.ppo,
                self.knobs.gate,
                self.seed,
                self.progress,
            )
            judge = self._facts("reward")
            checks.append(reward_check(judge, judge["crossfit"], self.knobs.gate))
            checks += comparison_checks(measured, self.knobs.gate)
            facts = {"comparison": asdict(measured)}
        return facts | {"checks": [asdict(check) for check in checks], "passed": all(check.passed for check in checks)}

    def _version(self, work: Path) -> dict[str, Any]:
        gate, train = self._facts("gate"), self._facts("train")
        failed = [check["name"] for check in gate["checks"] if not check["passed"]]
        why = f"the gate rejected it: {', '.join(failed)}" if failed else "the gate passed every check"
        with self.store.session() as session:
            version = session.scalar(select(Version).where(Version.update_id == self.id))
            if version is None:  # else a run was killed between this commit and the rename
                version = add_version(
                    session,
                    parent=self.parent_id,
                    adapter=str((self.folder / "train" / "adapter").relative_to(self.store.home)),
                    adapter_hash=train["adapter_hash"],
                    update_id=self.id,
                    dataset_hash=self._facts("dataset")["hash"],
                    report=gate,
                    status="candidate" if gate["passed"] else "rejected",
                )
                if gate["passed"]:
                    promote(session, version.id, who="gate", reason=f"update {self.id} passed every check")
            number = version.id
        return {"version": number, "verdict": "rejected" if failed else "promoted", "why": why}
