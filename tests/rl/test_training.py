"""The steps of an update that run the policy: what PPO was paid, and by which rule, stands in the curve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lm.loading import Base
from problems import Problem
from reward.model import RewardModel, fit_reward
from reward.rule_settings import BannedRule, FormatRule, LengthRule
from reward.settings import RewardSettings
from rl.settings import Algorithm, AlgorithmSettings, AnchorSettings, PPOSettings, StoppingSettings
from rl.stopping import Stopping
from rl.training import ending_shares, train_policy
from rl.validation import Validation
from store.frozen import Frozen, Pair

RULES = (
    FormatRule(format="json", weight=0.25),
    LengthRule(name="brief", maximum=4, falloff=100),
    BannedRule(name="never", pattern="no such words as these"),
)
PPO = PPOSettings(
    updates=2, episodes=8, minibatch=4, epochs=1, max_tokens=8, prompt_tokens=64, rank=2, value_warmup=0, save_every=9
)


def parcels() -> tuple[list[list[dict[str, str]]], list[Pair]]:
    """Prompts, and pairs of which the short answer is the better one."""
    prompts = [[{"role": "user", "content": f"Where is parcel {i}?"}] for i in range(24)]
    pairs = [
        Pair(prompt, f"Monday. {i}", f"It left on Monday, I believe. {i}", 1.0, "pair", f"p{i % 4}", f"c{i}", "train")
        for i, prompt in enumerate(prompts)
    ]
    return prompts, pairs


def test_each_rules_figure_stands_in_the_curve_under_its_name(tiny_base: Base, tmp_path: Path) -> None:
    prompts, pairs = parcels()
    reward = fit_reward(tiny_base, Frozen("0" * 64, pairs, [], []), RewardSettings(heads=2, context=96))
    reward = replace(reward, settings=replace(reward.settings, rules=RULES))
    train_policy(tiny_base, None, None, None, reward, prompts, PPO, AnchorSettings(), tmp_path, seed=0)

    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in lines if "ppo/score" in row]
    assert len(rows) == PPO.updates
    names = {"reward/heads", "reward/rule/format", "reward/rule/brief", "reward/rule/never"}
    for row in rows:
        assert row["reward/std"] > 0.01
        assert 0 <= row["reward/clipped"] < 1
        assert names == {name for name in row if name.startswith(("reward/heads", "reward/rule"))}
        assert row["reward/rule/format"] == pytest.approx(-0.25)  # a random model writes no JSON
        assert -0.5 < row["reward/rule/brief"] < 0  # a few of the 100 tokens too many
        assert row["reward/rule/never"] == 0
    events = EventAccumulator(str(next(tmp_path.rglob("events.out*")).parent)).Reload()
    assert {f"train/{name}" for name in names} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize("algorithm", ["ppo", "grpo", "rloo"])
def test_a_reward_that_is_the_same_for_all_answers_ends_the_training_at_once(
    tiny_base: Base, tmp_path: Path, algorithm: Algorithm
) -> None:
    prompts, pairs = parcels()
    reward = fit_reward(tiny_base, Frozen("0" * 64, pairs, [], []), RewardSettings(heads=2, context=96))
    gloomy = replace(reward, settings=replace(reward.settings, pessimism=1e9))

    def train(paid: RewardModel, ppo: PPOSettings, folder: Path) -> int:
        return train_policy(
            tiny_base, None, None, None, paid, prompts, ppo, AnchorSettings(), folder, 0,
            algorithm=algorithm, algorithms=AlgorithmSettings(group=4),
        )[1]  # fmt: skip

    told = r"the 8 answers of the first rollout are paid -5 each .* 100% of them at the clip"
    with pytest.raises(Problem, match=told):
        train(gloomy, PPO, tmp_path / "constant")
    assert not (tmp_path / "constant" / "curve.jsonl").exists()

    once, whole = replace(PPO, updates=1, save_every=1), replace(PPO, save_every=1)
    steps = train(reward, once, tmp_path / "later")
    # A policy that has learned something may be paid the same for everything by then.
    assert train(gloomy, whole, tmp_path / "later") == 2 * steps
    lines = [json.loads(line) for line in (tmp_path / "later" / "curve.jsonl").read_text("utf-8").splitlines()]
    last = [row for row in lines if "reward/std" in row][-1]
    assert (last["reward/std"], last["reward/clipped"]) == (0.0, 1.0)


def test_the_bound_of_what_ppo_is_paid_counts_too(tiny_base: Base, tmp_path: Path) -> None:
    prompts, pairs = parcels()
    reward = fit_reward(tiny_base, Frozen("0" * 64, pairs, [], []), RewardSettings(heads=2, context=96))
    heavy = replace(reward, settings=replace(reward.settings, rules=(FormatRule(format="json", weight=100.0),)))
    ppo = replace(PPO, reward_clip=3.0)
    with pytest.raises(Problem, match=r"are paid -3 each .* 100% of them at the clip"):
        train_policy(tiny_base, None, None, None, heavy, prompts, ppo, AnchorSettings(), tmp_path, seed=0)


@pytest.mark.parametrize(("ended", "prompts", "expected"), [
    ([True, False, True, True], 2, [1.0, 0.5]),  # asked in turn: the first prompt's answers are the first and third
    ([True, False], 4, [1.0, 0.0, 0.5, 0.5]),  # two prompts were not asked
    ([], 2, [1.0, 1.0]),
])  # fmt: skip
def test_how_often_a_parent_ends_its_answers(ended: list[bool], prompts: int, expected: list[float]) -> None:
    assert ending_shares(ended, prompts) == expected


def test_checks_stand_in_curve_and_events_and_leave_the_training_as_it_was(tiny_base: Base, tmp_path: Path) -> None:
    prompts, pairs = parcels()
    reward = fit_reward(tiny_base, Frozen("0" * 64, pairs, [], []), RewardSettings(heads=2, context=96))
    settings = StoppingSettings(every=1, answers=2, patience=9)
    curves = []
    for name in ("plain", "checked"):
        folder = tmp_path / name
        folder.mkdir()
        validation = Validation(tiny_base, None, [], prompts[:2], PPO, settings, 0)
        stopping = Stopping(validation if name == "checked" else None, settings, folder / "stopping")
        train_policy(
            tiny_base, None, None, None, reward, prompts, PPO, AnchorSettings(), folder, seed=0, stopping=stopping
        )
        lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text("utf-8").splitlines()]
        curves.append([row for row in lines if "ppo/score" in row])
        assert (folder / "curves.png").is_file()
    names = {"stopping/kl", "stopping/broken"}
    for plain, checked in zip(*curves, strict=True):
        assert names == {name for name in checked if name.startswith("stopping/")}
        assert checked["ppo/score"] == plain["ppo/score"]
        assert checked["loss"] == plain["loss"]
    events = EventAccumulator(str(next((tmp_path / "checked").rglob("events.out*")).parent)).Reload()
    assert {f"train/{name}" for name in names} <= set(events.Tags()["scalars"])
