"""When training ends: by checks that no reward can talk round, and the best of them becomes the candidate.

A reward model's reward rises for as long as it is trained on, what people want does not [arXiv 2210.10760]. So every
few rollouts the policy is put to what a program can check. Out of bounds (a skill lost, too far from the parent) a
check cannot become the candidate; among the others held-out ratings decide, as far as they can tell.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import distributed
from transformers import TrainerCallback

from lm.adapters import Adapter, read_adapter, write_adapter
from rl.policy import policy_adapter
from rl.settings import StoppingSettings
from rl.validation import Standing, Validation, doubtless_fall

FACTS = "check.json"


@dataclass(frozen=True)
class Check:
    """How the policy stood after `step` optimizer steps, and which bounds it broke."""

    step: int
    standing: Standing
    broken: tuple[str, ...]


def broken(standing: Standing, start: Standing, settings: StoppingSettings) -> tuple[str, ...]:
    """The bounds that a standing breaks: "skill:NAME", "skills" or "kl".

    A skill is lost when its accuracy fell by more than is allowed and one standard error of the difference on top of
    that; on a few dozen questions one answer more or less tells nothing. All questions together tell a smaller fall,
    and less is allowed of them.
    """
    found = []
    for name, before in start.right.items():
        if doubtless_fall(before, standing.right[name], settings.max_skill_drop):
            found.append(f"skill:{name}")
    every = [[verdict for name in start.right for verdict in each.right[name]] for each in (start, standing)]
    if doubtless_fall(every[0], every[1], settings.max_mean_drop):
        found.append("skills")
    if standing.kl > settings.max_kl:
        found.append("kl")
    return tuple(found)


def best_of(checks: Sequence[Check]) -> Check | None:
    """The last check within bounds that the held-out judge does not speak against; None when every check broke a bound.

    It speaks against a check whose answers it likes less than those of the check that it likes best, by more than a
    standard error: a few dozen answers tell no less apart. Where it tells nothing, more training is better, since the
    reward has risen meanwhile. Where nobody judges, the last check within bounds is the best.
    """
    sound = [check for check in checks if not check.broken]
    known = [check for check in sound if check.standing.by_answer]
    if not known:
        return sound[-1] if sound else None
    liked = max(known, key=lambda check: check.standing.gain).standing
    return [check for check in known if not check.standing.doubtless_below(liked)][-1]


def is_over(checks: Sequence[Check], patience: int) -> bool:
    """Whether the last `patience` checks were all out of bounds or doubtlessly below the best before them."""
    best = best_of(checks)
    since = len(checks) if best is None else len(checks) - 1 - checks.index(best)
    return since >= patience


class Stopping(TrainerCallback):
    """Checks the policy every few rollouts, keeps each check's adapter, and ends the training when it is over.

    A rollout is as many optimizer steps as lie between two rows of the trainer's log. The main process measures; the
    others hear from it whether to go on. A check stands in `folder`/step-N; a training that goes on from a checkpoint
    finds the checks up to it there, and makes the later ones again.

    Args:
        validation: what is measured, on the main process; None measures nothing.
        settings: when, and what is allowed.
        folder: where checks are kept.

    Attributes:
        checks: those made until now.
        late: whether the time that training may take is over; the clock begins anew when a training is taken up again.
    """

    def __init__(self, validation: Validation | None, settings: StoppingSettings, folder: Path) -> None:
        self.validation, self.settings, self.folder = validation, settings, folder
        self.checks: list[Check] = []
        self.late = False
        self._over = False
        self._begun = time.monotonic()

    @property
    def best_step(self) -> int | None:
        """Optimizer steps until the best check; None where there is no check within bounds."""
        found = best_of(self.checks)
        return found.step if found else None

    @property
    def best(self) -> Adapter | None:
        """The adapter of the best check; None where there is no check within bounds."""
        step = self.best_step
        return read_adapter(self._place(step), self.validation.base) if self.validation and step else None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up the checks that were made before the checkpoint that training goes on from."""
        self._begun = time.monotonic()
        if not self.settings.every:
            return
        if state.is_world_process_zero:
            kept = [_read_check(file) for file in self.folder.glob(f"step-*/{FACTS}")]
            self.checks = sorted((check for check in kept if check.step <= state.global_step), key=lambda c: c.step)
            taken = {self._place(check.step) for check in self.checks}
            for place in self.folder.glob("step-*"):
                if place not in taken:
                    shutil.rmtree(place)
        self._over = _told(bool(self.checks) and is_over(self.checks, self.settings.patience))

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Check when a rollout's last step is done and a check is due, as it is after the last one or in the end."""
        if state.global_step % args.logging_steps == 0 or state.global_step >= state.max_steps:
            spent, allowed = time.monotonic() - self._begun, 60 * self.settings.minutes
            self.late = _told(0 < allowed <= spent)
            every = self.settings.every * args.logging_steps
            if every and (state.global_step % every == 0 or state.global_step >= state.max_steps or self.late):
                if self.validation is not None and state.is_world_process_zero:
                    self._check(self.validation, state.global_step, policy_adapter(model))
                self._over = _told(bool(self.checks) and is_over(self.checks, self.settings.patience))
        if self._over or self.late:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Add the check of this step to what is logged, for the callbacks that come after this one."""
        if logs is not None and self.checks and self.checks[-1].step == state.global_step and "loss" in logs:
            last = self.checks[-1]
            logs |= last.standing.figures() | {"stopping/broken": float(len(last.broken))}

    def _check(self, validation: Validation, step: int, adapter: Adapter) -> None:
        standing = validation.standing(adapter)
        check = Check(step, standing, broken(standing, validation.start, self.settings))
        place = self._place(step)
        write_adapter(place, adapter, validation.base)
        draft = place / f"{FACTS}.tmp"  # comes last and whole: a check without it was cut short
        draft.write_text(json.dumps(asdict(check), indent=1), encoding="utf-8")
        draft.replace(place / FACTS)
        self.checks.append(check)

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step}"


def _told(over: bool) -> bool:
    """What the main process says, on every process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return over
    said = [over]
    distributed.broadcast_object_list(said, src=0)
    return said[0]


def _read_check(file: Path) -> Check:
    facts = json.loads(file.read_text(encoding="utf-8"))
    standing = facts["standing"]
    right = {name: tuple(verdicts) for name, verdicts in standing["right"].items()}
    return Check(facts["step"], Standing(right, standing["kl"], tuple(standing["by_answer"])), tuple(facts["broken"]))
