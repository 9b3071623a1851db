"""A reward model from a frozen dataset: fitted, kept, loaded, reported."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lm.loading import Base
from problems import Problem
from reward.model import RewardModel, fit_reward, load_reward, newest_reward
from reward.report import reward_report
from reward.settings import RewardSettings
from store.frozen import Frozen, Pair, Split, Thumb

SHORT, LONG = "On Monday.", "Please let me tell you that it left the warehouse on Monday and arrives on Thursday."
SETTINGS = RewardSettings(heads=3, hidden=16, epochs=30, context=128)


def question(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Where is parcel {i}?"}]


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    """People who like short answers, in 60 conversations of which every fifth is held out."""
    pairs, thumbs = [], []
    for i in range(60):
        split: Split = "holdout" if i % 5 == 0 else "train"
        pairs.append(Pair(question(i), f"{SHORT} {i}", f"{LONG} {i}", 1.0, "pair", "ann", f"c{i}", split))
        thumbs.append(Thumb(question(i), f"{(SHORT, LONG)[i % 2]} {i}", i % 2 == 0, "thumb", "bo", f"c{i}", split))
    return Frozen("0" * 64, pairs, thumbs, [])


@pytest.fixture(scope="module")
def model(tiny_base: Base, frozen: Frozen) -> RewardModel:
    return fit_reward(tiny_base, frozen, SETTINGS)


def test_it_scores_what_people_liked_higher_on_unseen_prompts(model: RewardModel) -> None:
    scores = model.score([question(1000), question(1000)], [SHORT, LONG])
    assert scores.value[0] > scores.value[1]
    assert (scores.deviation >= 0).all()
    assert scores.value.abs().max() <= SETTINGS.clip


def test_each_head_has_a_reward_of_its_own(model: RewardModel) -> None:
    prompts, answers = [question(1000)] * 3, [SHORT, LONG, "Never."]
    members = model.members(prompts, answers)
    assert members.shape == (SETTINGS.heads, 3)
    torch.testing.assert_close(members.mean(0), model.score(prompts, answers).mean)
    assert (members.std(0) > 0).all()


def test_the_report_speaks_of_the_holdout_alone(model: RewardModel, frozen: Frozen) -> None:
    report = reward_report(model, frozen)
    assert report.n == 12
    assert report.accuracy > 0.9
    assert report.low < report.accuracy <= report.high <= 1
    assert report.by_kind["thumb"]["n"] == 12
    assert report.by_kind["thumb"]["accuracy"] > 0.8
    assert report.length_slope < 0
    assert 0 <= report.ece <= 1
    assert (report.train, report.holdout) == (96, 24)
    assert "right on the holdout" in report.to_text()


def test_a_holdout_without_pairs_has_no_accuracy(model: RewardModel, frozen: Frozen) -> None:
    trained = [pair for pair in frozen.pairs if pair.split == "train"]
    report = reward_report(model, Frozen(frozen.hash, trained, [], []))
    assert report.n == 0
    assert math.isnan(report.accuracy)


def test_it_comes_back_from_its_folder_as_it_was(model: RewardModel, tiny_base: Base, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = load_reward(tmp_path, tiny_base)
    prompts, answers = [question(7)] * 2, [SHORT, LONG]
    torch.testing.assert_close(again.score(prompts, answers).value, model.score(prompts, answers).value)
    assert (again.temperature, again.dataset, again.people) == (model.temperature, model.dataset, model.people)


def test_another_base_is_refused(model: RewardModel, load_tiny: Callable[[], Base], tmp_path: Path) -> None:
    model.save(tmp_path)
    base = load_tiny()
    object.__setattr__(base, "fingerprint", "something else")
    with pytest.raises(Problem, match="was fitted on"):
        load_reward(tmp_path, base)
    with pytest.raises(Problem, match="No reward model"):
        load_reward(tmp_path / "nowhere", base)


def test_the_newest_is_the_one_written_last(tmp_path: Path) -> None:
    assert newest_reward(tmp_path) is None
    fitted, second, unfinished = tmp_path / "reward", tmp_path / "updates/2/reward", tmp_path / "updates/3/reward.tmp"
    for age, folder in ((300, fitted), (200, second), (100, tmp_path / "updates/1/reward"), (0, unfinished)):
        folder.mkdir(parents=True)
        (folder / "reward.json").write_text("{}")
        os.utime(folder / "reward.json", (1e9 - age, 1e9 - age))
    assert newest_reward(tmp_path) == tmp_path / "updates/1/reward", "by time, not by number"
    (tmp_path / "updates/4/reward").mkdir(parents=True)
    os.utime(fitted / "reward.json", (1e9, 1e9))
    assert newest_reward(tmp_path) == fitted, "an update that fitted none has none"
