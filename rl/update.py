"""An update: from the ratings in the store to a version that serves, or to the reasons why not.

A row in the store and a folder `updates/<id>/` in the store's home. Each step reads the folder, writes its result into
`<step>.tmp`, renames it to `<step>` and records itself; a step whose folder stands is done. Killed at any point, the
next update goes on at the first unfinished step, training at its last checkpoint.

    dataset   frozen ratings and prompts, with their hash, and which rows the model cannot read
    reward    reward model and its report on the holdout; at chance, the update ends here as rejected
    anchor    the serving version's answers to old prompts; its Fisher information on them, where it is to hold
    train     PPO or another algorithm: the candidate's adapter, learning curves, checkpoints, checks
    gate      checks and verdict
    version   the candidate in the store; promoted if the gate passed it and its parent still serves

The row is opened once everything is there that can be looked at before (`rl.preflight`). What becomes of it when a step
fails: `rl.failures`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from lm.adapters import read_adapter
from lm.loading import Base
from lm.settings import BackendSettings
from lm.suites import load_suite
from problems import Problem
from reward.model import fit_reward
from reward.readable import as_asked, summary
from reward.report import reward_report
from reward.settings import dataset_knobs
from rl.anchor import load_anchor
from rl.comparison import compare
from rl.failures import ends_update, kind_of
from rl.gate import Check, comparison_checks, integrity_checks, newcomers_check, reward_check
from rl.launch import launched_training
from rl.preference_data import with_answer_length
from rl.preflight import Readable, check_data, check_disk, check_settings, launcher_of, readable_rows
from rl.rollout import Server
from rl.training import Progress, measure_anchor
from rl.workspace import Knobs, Workspace
from store.database import Store
from store.datasets import freeze
from store.frozen import Frozen
from store.people import record_trained_on
from store.raters import agreement
from store.schema import Update, Version
from store.single_rating import ratings_about
from store.updates import finish_update, last_dataset, record_step, start_update, unfinished, update_lock
from store.versions import add_version, promote_over, serving


@dataclass(frozen=True)
class UpdateReport:
    """How an update ended.

    Attributes:
        verdict: promoted; candidate (it passed, but its parent serves no more); rejected; nothing.
        version: None where none was made.
        left_out: rows that the model cannot read, `reward.readable.summary`.
    """

    update: int | None
    verdict: str
    version: int | None
    dataset: str
    checks: list[Check]
    seconds: float
    why: str
    left_out: list[dict[str, Any]] = field(default_factory=list)


def run_update(
    store: Store,
    base: Base,
    knobs: Knobs,
    *,
    force: bool = False,
    progress: Progress | None = None,
    backend: BackendSettings | None = None,
) -> UpdateReport:
    """Run one update, or go on with one that was cut off.

    Args:
        store: where the ratings are and the version goes.
        base: the model that the store's versions stand on.
        knobs: settings; a resumed update keeps those it began with, and trains where these say.
        force: run even when there are few ratings or none that are new.
        progress: called with what is done, how far, and of how much.
        backend: the server that answers rollouts where `ppo.rollouts` is vllm.

    Raises:
        Problem: another update runs; an update with these settings or ratings could come to no verdict, and none was
            begun; a step cannot be done, and the update has ended as failed (`data` says which); the algorithm has
            nothing to learn from (status 3).
    """
    server = Server(backend, store.home) if backend else None
    launcher = launcher_of(knobs)
    with update_lock(store):
        check_disk(store.home, knobs.update.min_free_disk)
        with store.session(reading=True) as session:
            begun = unfinished(session)
        learned: Readable | None = None
        if begun is None:
            check_settings(base, knobs, server)
            with store.session(reading=True) as session:
                frozen = freeze(session, seed=knobs.update.seed, **dataset_knobs(knobs.reward))
                idle = _nothing_to_do(frozen, last_dataset(session), knobs.update.min_ratings, force)
            if idle:
                return UpdateReport(None, "nothing", None, frozen.hash, [], 0.0, idle)
            learned = readable_rows(base, frozen, knobs)
            check_data(base, learned.frozen, knobs)
            with store.session() as session:
                settings = asdict(knobs) | {"parent": serving(session).id}
                begun = start_update(
                    session, algorithm=knobs.update.algorithm, seed=knobs.update.seed, settings=settings
                )
        noted = progress or (lambda label, done, total: None)
        with _ending_what_cannot_go_on(store, begun.id) as at:
            return _Run(store, base, begun, launcher, noted, (frozen, learned) if learned else None, server).finish(at)


@contextmanager
def _ending_what_cannot_go_on(store: Store, number: int) -> Iterator[list[str]]:
    """End an update's row where its error would come again; `rl.failures` says which. Yields where to name the step."""
    at = ["begin"]
    try:
        yield at
    except Exception as error:
        step, why = at[-1], str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, Problem) else ""
        told = {"update": number, "verdict": "failed", "step": step, "why": why}
        with store.session() as session:
            row = session.get_one(Update, number)
            over = ends_update(error, step, row.steps)
            if over:
                finish_update(session, number, "failed", None, told | {"hint": hint})
            elif kind_of(error) == "unforeseen":
                record_step(session, number, step, "failed", {"error": type(error).__name__, "why": why})
        if not over:
            raise
        ended = f"Update {number} has ended as failed; the next one begins anew."
        status = error.status if isinstance(error, Problem) else 1
        raise Problem(why, hint=f"{hint} {ended}".strip(), status=status, data=told) from error


def _nothing_to_do(frozen: Frozen, last: str | None, least: int, force: bool) -> str:
    """Why there is nothing to do; empty when there is something."""
    if not frozen.ratings:
        return "there are no ratings"
    if force:
        return ""
    if frozen.ratings < least:
        return f"there are {frozen.ratings} ratings, fewer than the {least} that an update waits for"
    return "no opinion has changed since the last update" if frozen.hash == last else ""


class _Run(Workspace):
    """One update on its way: the folder, and the steps in their order.

    `launcher` is accelerate's configuration for the training, None for this process. `found` is the dataset that told
    that there is something to do, and what of it can be read; an update that goes on after a cut has none yet.
    """

    def __init__(
        self,
        store: Store,
        base: Base,
        row: Update,
        launcher: Path | None,
        progress: Progress,
        found: tuple[Frozen, Readable] | None,
        server: Server | None,
    ) -> None:
        self.store, self.id, self.launcher, self.found = store, row.id, launcher, found
        folder = store.home / "updates" / str(row.id)
        folder.mkdir(parents=True, exist_ok=True)
        with store.session() as session:
            parent = session.get_one(Version, row.settings["parent"])
            self.parent_id = parent.id
            parent_folder = store.home / parent.adapter if parent.adapter else None
        super().__init__(folder, base, Knobs.from_json(row.settings), parent_folder, progress, server)

    def finish(self, at: list[str]) -> UpdateReport:
        """Do every step that is not done, then close the update's row. `at` hears the name of each step before it."""
        steps: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
            ("dataset", self._dataset),
            ("reward", self._reward),
            ("anchor", self._anchor),
            ("train", self._train),
            ("gate", self._gate),
            ("version", self._version),
        ]
        done = []
        for name, step in steps:
            at.append(name)
            if not (self.folder / name).is_dir():
                self._do(name, step)
            done.append(name)
            if name == "reward" and not self._reward_check().passed:
                break
        report = self._report(done)
        with self.store.session() as session:
            finish_update(session, self.id, report.verdict, report.version, asdict(report))
        return report

    def _report(self, done: list[str]) -> UpdateReport:
        """What the steps came to; where the reward model may not judge, they ended with it."""
        dataset = self.facts("dataset")
        if "version" in done:
            end = self.facts("version")
            checks = [Check(**check) for check in self.facts("gate")["checks"]]
        else:
            checks = [self._reward_check(), self._newcomers_check()]
            why = f"the reward model may not judge, so nothing was trained: {checks[0].why}"
            end = {"verdict": "rejected", "version": None, "why": why}
        return UpdateReport(
            self.id,
            end["verdict"],
            end["version"],
            dataset["hash"],
            checks,
            sum(self.facts(name)["seconds"] for name in done),
            end["why"],
            dataset.get("left_out", []),
        )

    def _reward_check(self) -> Check:
        judge = self.facts("reward")
        return reward_check(judge, judge["crossfit"], self.knobs.gate)

    def _newcomers_check(self) -> Check:
        return newcomers_check(Frozen.from_json(self.folder / "dataset"), self.knobs.reward.newcomer_share)

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

    def _dataset(self, work: Path) -> dict[str, Any]:
        if self.found is None:
            with self.store.session(reading=True) as session:
                frozen = freeze(session, seed=self.seed, **dataset_knobs(self.knobs.reward))
            learned = readable_rows(self.base, frozen, self.knobs)
        else:
            frozen, learned = self.found
        with self.store.session() as session:
            record_trained_on(session, self.id, frozen)
            ratings = ratings_about(session, as_asked(learned.left_out))
        frozen.to_json(work)
        return {
            "hash": frozen.hash,
            "answer_tokens": with_answer_length(self.base, frozen, self.knobs.ppo).max_tokens,
            "ratings": frozen.ratings,
            **{kind: len(rows) for kind, rows in frozen.by_kind().items()},
            "left_out_rows": [{"kind": each.kind, "row": each.row} for each in learned.left_out],
            "left_out": summary(learned.left_out, ratings),
        }

    def _reward(self, work: Path) -> dict[str, Any]:
        frozen = self.dataset()
        model = fit_reward(self.base, frozen, self.knobs.reward, self.progress, work)
        model.save(work)
        with self.store.session(reading=True) as session:
            report = reward_report(model, frozen, agreement(session))
        (work / "report.json").write_text(json.dumps(report.to_json(), indent=2), encoding="utf-8")
        return {name: getattr(report, name) for name in ("accuracy", "low", "high", "n", "crossfit")}

    def _anchor(self, work: Path) -> dict[str, Any]:
        older_file = self.parent_folder / "anchor.safetensors" if self.parent_folder else None
        anchor, replay, ending = measure_anchor(
            self.base,
            self.parent,
            load_anchor(older_file) if older_file and older_file.is_file() else None,
            self.prompts("train"),
            self.ppo,
            self.knobs.anchor,
            self.seed,
            self.progress,
        )
        replay.save(work / "replay.safetensors")
        facts: dict[str, Any] = {"samples": len(replay.sequences), "ending": ending}
        if anchor:
            anchor.save(work / "anchor.safetensors")
            facts["trace"] = sum(float(information.sum()) for information in anchor.fisher.values())
        return facts

    def _train(self, work: Path) -> dict[str, Any]:
        if self.launcher is None:
            return self.train(work)
        return launched_training(self, self.launcher, work)

    def _gate(self, work: Path) -> dict[str, Any]:
        candidate = read_adapter(self.folder / "train" / "adapter", self.base)
        trained = self.facts("train")
        checks = integrity_checks(self.parent, candidate, trained["steps"], trained.get("out_of_time", False))
        facts: dict[str, Any] = {}
        if all(check.passed for check in checks):
            measured = compare(
                self.base,
                self.parent,
                candidate,
                self.reward_model(),
                self.held_out()[1],
                load_suite(self.knobs.update.suite, self.knobs.gate.skill_items, self.seed, "test"),
                self.ppo,
                self.knobs.gate,
                self.seed,
                self.progress,
            )
            checks += [self._reward_check(), self._newcomers_check()]
            checks += comparison_checks(measured, self.knobs.gate)
            facts = {"comparison": asdict(measured)}
        return facts | {"checks": [asdict(check) for check in checks], "passed": all(check.passed for check in checks)}

    def _version(self, work: Path) -> dict[str, Any]:
        gate, train = self.facts("gate"), self.facts("train")
        failed = [check["name"] for check in gate["checks"] if not check["passed"]]
        with self.store.session() as session:
            version = session.scalar(select(Version).where(Version.update_id == self.id))
            if version is None:  # else a run was killed between this commit and the rename
                version = add_version(
                    session,
                    parent=self.parent_id,
                    adapter=str((self.folder / "train" / "adapter").relative_to(self.store.home)),
                    adapter_hash=train["adapter_hash"],
                    update_id=self.id,
                    dataset_hash=self.facts("dataset")["hash"],
                    report=gate,
                    status="candidate" if gate["passed"] else "rejected",
                )
                if gate["passed"]:
                    reason = f"update {self.id} passed every check"
                    promote_over(session, version.id, self.parent_id, who="gate", reason=reason)
            number, waits, serves = version.id, version.status == "candidate", serving(session).id
        if failed:
            return {"version": number, "verdict": "rejected", "why": f"the gate rejected it: {', '.join(failed)}"}
        if waits:
            why = (
                f"the gate passed every check beside version {self.parent_id}, but version {serves} serves by now; "
                f"`ratchet promote {number}` lets it serve all the same"
            )
            return {"version": number, "verdict": "candidate", "why": why}
        return {"version": number, "verdict": "promoted", "why": "the gate passed every check"}
