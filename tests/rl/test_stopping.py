"""When training ends, which check becomes the candidate, and that a cut changes neither."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from transformers import TrainerControl, TrainerState

from lm.adapters import Adapter
from lm.loading import Base
from rl.policy import make_policy, policy_adapter
from rl.settings import PPOSettings, StoppingSettings
from rl.stopping import Check, Stopping, best_of, broken, is_over
from rl.validation import Standing

SETTINGS = StoppingSettings(every=2, patience=2)


def answered(of: int, wrong: int) -> tuple[bool, ...]:
    """Verdicts on so many questions, the first of them wrong."""
    return (False,) * wrong + (True,) * (of - wrong)


START = Standing({"a": answered(24, 2), "b": answered(24, 0)}, 0.0)
ARGUMENTS = SimpleNamespace(logging_steps=4)


def standing(gain: float, kl: float = 1.0, **wrong: int) -> Standing:
    """Each of four answers gains `gain`, NaN: nobody judges; so many of a skill's questions are answered wrongly."""
    right = START.right | {name: answered(24, n) for name, n in wrong.items()}
    return replace(START, right=right, kl=kl, by_answer=() if math.isnan(gain) else (gain,) * 4)


def check(step: int, gain: float, *bounds: str) -> Check:
    return Check(step, standing(gain), bounds)


def test_a_training_whose_time_is_over_ends_with_its_rollout_and_a_check(tiny_base: Base, tmp_path: Path) -> None:
    for minutes, steps in ((1e-9, [4]), (1000.0, [8, 16]), (0.0, [8, 16])):
        settings, folder = replace(SETTINGS, minutes=minutes), tmp_path / str(minutes)
        stopping = Stopping(Scripted(tiny_base, [0.1, 0.2, 0.3]), settings, folder)  # type: ignore[arg-type]
        Training(tiny_base, stopping).run(20)
        assert [check.step for check in stopping.checks] == steps
        assert stopping.late == (len(steps) == 1)
        assert stopping.best_step == steps[-1]


def test_a_bound_breaks_when_a_skill_is_lost_or_the_parent_left_far_behind() -> None:
    assert broken(standing(0.0), START, SETTINGS) == ()
    assert broken(standing(0.0, b=1), START, SETTINGS) == ()  # one answer of 24 tells nothing
    assert broken(standing(0.0, a=0, b=4), START, SETTINGS) == ("skill:b",)
    assert broken(standing(0.0, a=0, b=24, kl=10.5), START, SETTINGS) == ("skill:b", "skills", "kl")
    assert broken(standing(0.0, kl=math.nan), START, SETTINGS) == ()  # there was no prompt to measure it on
    assert broken(Standing({}, 1.0), Standing({}, 0.0), SETTINGS) == ()
    assert broken(Standing({"a": (False,)}, 1.0), Standing({"a": (True,)}, 0.0), SETTINGS) == ()


@pytest.mark.parametrize(
    ("lost", "gained", "bounds"),
    [
        # of 200 questions a skill; .03 a skill and .015 of all 400 are allowed, each beyond one standard error
        ((0, 8), 0, ()),  # .0400 -+ .0139, and .0200 -+ .0070
        ((0, 9), 0, ("skill:b", "skills")),  # .0450 -+ .0147, and .0225 -+ .0074
        ((4, 5), 0, ("skills",)),  # .0250 -+ .0111 at most, and .0225 -+ .0074
        ((0, 30), 20, ()),  # .0500 -+ .0350, and .0250 -+ .0176: many turned round, so less is certain
    ],
)
def test_a_fall_counts_beyond_its_standard_error_question_by_question(
    lost: tuple[int, int], gained: int, bounds: tuple[str, ...]
) -> None:
    before = Standing({"a": answered(200, 0), "b": answered(200, gained)}, 0.0)
    after = {name: answered(200, wrong)[::-1] for name, wrong in zip("ab", lost, strict=True)}
    assert broken(replace(before, right=after), before, SETTINGS) == bounds


def test_the_best_check_is_within_bounds_and_liked_best() -> None:
    assert best_of([]) is None
    assert best_of([check(1, -0.6, "kl")]) is None
    assert best_of([check(1, -0.6), check(2, -0.5), check(3, -0.4, "kl"), check(4, -0.55)]) == check(2, -0.5)
    assert best_of([check(1, -0.5), check(2, -0.5), check(3, -0.5001)]) == check(2, -0.5)
    unknown = [check(1, math.nan), check(2, math.nan), check(3, math.nan, "kl")]
    best = best_of(unknown)
    assert best is not None
    assert best.step == 2


def test_a_check_that_the_judge_cannot_tell_from_the_best_counts_as_no_worse() -> None:
    def judged(step: int, *by_answer: float) -> Check:
        return Check(step, replace(standing(0.0), by_answer=by_answer), ())

    liked = judged(1, 0.5, 0.4, 0.6, 0.5)
    noisy = judged(2, 0.7, 0.1, 0.7, 0.46)  # 0.01 less on average, give or take 0.1
    steady = judged(3, 0.49, 0.39, 0.59, 0.48)  # about as much less, on every answer
    assert best_of([liked, noisy]) == noisy
    assert best_of([liked, steady]) == liked
    assert best_of([liked, noisy, steady]) == noisy
    assert is_over([liked, steady, steady], 2)
    assert not is_over([liked, noisy, noisy], 2)


def test_it_is_over_after_patience_runs_out() -> None:
    checks = [check(1, -0.6), check(2, -0.5), check(3, -0.55), check(4, -0.5)]
    assert [is_over(checks[:n], 2) for n in range(5)] == [False] * 5
    checks[-1] = check(4, -0.51)
    assert [is_over(checks[:n], 2) for n in range(5)] == [False, False, False, False, True]
    assert not is_over(checks, 3)
    assert is_over([check(1, -0.1, "kl"), check(2, -0.1, "kl")], 2)
    assert not is_over([check(n, math.nan) for n in range(9)], 2)


@dataclass
class Scripted:
    """A validation whose figures are known beforehand."""

    base: Base
    rated: list[float]
    start: Standing = START
    seen: list[Adapter] = field(default_factory=list)

    def standing(self, adapter: Adapter) -> Standing:
        self.seen.append(adapter)
        return standing(self.rated[len(self.seen) - 1])


class Training:
    """A policy that moves a little at each step, with the trainer's events."""

    def __init__(self, base: Base, stopping: Stopping, step: int = 0, main: bool = True) -> None:
        self.model = make_policy(base, None, PPOSettings(rank=2), 0)
        self.stopping, self.state, self.control = stopping, TrainerState(), TrainerControl()
        self.state.max_steps, self.state.global_step = 44, step
        self.state.is_world_process_zero = main
        stopping.on_train_begin(ARGUMENTS, self.state, self.control)

    def run(self, until: int) -> None:
        while self.state.global_step < until and not self.control.should_training_stop:
            self.state.global_step += 1
            with torch.no_grad():
                for parameter in self.model.parameters():
                    if parameter.requires_grad:
                        parameter.fill_(float(self.state.global_step))
            self.stopping.on_step_end(ARGUMENTS, self.state, self.control, model=self.model)


def at(adapter: Adapter | None) -> float:
    """The step at which an adapter of `Training` was taken."""
    assert adapter is not None
    return float(next(iter(adapter.weights.values()))[1].unique())


def test_it_checks_every_few_rollouts_ends_and_returns_the_best(tiny_base: Base, tmp_path: Path) -> None:
    stopping = Stopping(Scripted(tiny_base, [-0.6, -0.5, -0.52, -0.51, -0.1]), SETTINGS, tmp_path)  # type: ignore[arg-type]
    training = Training(tiny_base, stopping)
    training.run(100)
    assert [each.step for each in stopping.checks] == [8, 16, 24, 32]
    assert training.state.global_step == 32
    assert at(stopping.best) == 16
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step-16", "step-24", "step-32", "step-8"]


def test_the_last_policy_is_checked_too(tiny_base: Base, tmp_path: Path) -> None:
    stopping = Stopping(Scripted(tiny_base, [-0.6, -0.5, -0.4, -0.3, -0.2, -0.1]), SETTINGS, tmp_path)  # type: ignore[arg-type]
    Training(tiny_base, stopping).run(44)
    assert [each.step for each in stopping.checks] == [8, 16, 24, 32, 40, 44]
    assert at(stopping.best) == 44


@pytest.mark.parametrize("cut", [16, 20, 31])
def test_cut_off_and_resumed_it_ends_where_it_would_have(tiny_base: Base, tmp_path: Path, cut: int) -> None:
    rated = [-0.6, -0.5, -0.52, -0.51, -0.1]
    Training(tiny_base, Stopping(Scripted(tiny_base, rated), SETTINGS, tmp_path)).run(cut)  # type: ignore[arg-type]
    (tmp_path / "step-28").mkdir()  # a check that was cut short
    again = Stopping(Scripted(tiny_base, rated[2:]), SETTINGS, tmp_path)  # type: ignore[arg-type]
    training = Training(tiny_base, again, step=16)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step-16", "step-8"]
    training.run(100)
    assert training.state.global_step == 32
    assert [each.step for each in again.checks] == [8, 16, 24, 32]
    assert at(again.best) == 16


def test_resumed_after_its_end_it_ends_again(tiny_base: Base, tmp_path: Path) -> None:
    Training(tiny_base, Stopping(Scripted(tiny_base, [-0.4, -0.5, -0.6]), SETTINGS, tmp_path)).run(100)  # type: ignore[arg-type]
    again = Stopping(Scripted(tiny_base, []), SETTINGS, tmp_path)  # type: ignore[arg-type]
    training = Training(tiny_base, again, step=24)
    training.run(100)
    assert training.state.global_step == 25
    assert at(again.best) == 8


def test_its_figures_are_added_to_the_row_of_its_step(tiny_base: Base, tmp_path: Path) -> None:
    stopping = Stopping(Scripted(tiny_base, [-0.6]), SETTINGS, tmp_path)  # type: ignore[arg-type]
    training = Training(tiny_base, stopping)
    training.run(8)
    row = {"loss": 0.5}
    stopping.on_log(ARGUMENTS, training.state, training.control, row)
    assert row == {
        "loss": 0.5, "stopping/skill/a": 22 / 24, "stopping/skill/b": 1.0, "stopping/gain": -0.6,
        "stopping/win_rate": 0.0, "stopping/kl": 1.0, "stopping/broken": 0.0,
    }  # fmt: skip
    training.run(9)
    later = {"loss": 0.4}
    stopping.on_log(ARGUMENTS, training.state, training.control, later)
    assert later == {"loss": 0.4}


def test_without_checks_training_goes_on_and_there_is_no_best(tiny_base: Base, tmp_path: Path) -> None:
    for settings, validation in ((replace(SETTINGS, every=0), Scripted(tiny_base, [])), (SETTINGS, None)):
        stopping = Stopping(validation, settings, tmp_path)  # type: ignore[arg-type]
        training = Training(tiny_base, stopping)
        training.run(44)
        assert training.state.global_step == 44
        assert stopping.best is None
    assert policy_adapter(training.model).rank == 2


def test_another_process_measures_nothing_and_ends_when_the_main_one_says_so(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the begin; after each of four rollouts whether time is over; after every second one, a check, whether all is.
    said = iter([False, False, False, False, False, False, True])

    def broadcast(objects: list[bool], src: int) -> None:
        assert src == 0
        objects[0] = next(said)

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "broadcast_object_list", broadcast)
    stopping = Stopping(None, SETTINGS, tmp_path / "checks")
    training = Training(tiny_base, stopping, main=False)
    training.run(44)
    assert training.state.global_step == 16
    assert stopping.best is None
    assert not (tmp_path / "checks").exists()
