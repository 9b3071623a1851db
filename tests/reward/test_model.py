"""A reward model from a frozen dataset: fitted, kept, loaded."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm.loading import Base
from problems import Problem
from reward.evidence import evidence_from
from reward.model import RewardModel, fit_reward, load_reward, newest_reward, regime_of
from reward.rule_settings import read_rules
from reward.settings import RewardSettings
from store.frozen import Frozen, Pair, Split, Thumb

SHORT, LONG = "On Monday.", "Please let me tell you that it left the warehouse on Monday and arrives on Thursday."
SETTINGS = RewardSettings(heads=3, context=128)


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
    assert scores.mean[0] > scores.mean[1]
    assert (scores.deviation >= 0).all()
    assert scores.value.abs().max() <= SETTINGS.clip


def test_each_head_has_a_reward_of_its_own(model: RewardModel) -> None:
    prompts, answers = [question(1000)] * 3, [SHORT, LONG, "Never."]
    members = model.members(prompts, answers)
    assert members.shape == (SETTINGS.heads, 3)
    torch.testing.assert_close(members.mean(0), model.score(prompts, answers).mean)
    assert (members.std(0) > 0).all()


@pytest.mark.parametrize("combine", ["mean", "pessimistic", "minimum"])
def test_heads_become_one_reward(model: RewardModel, combine: Any) -> None:
    bold = replace(model, settings=replace(model.settings, combine=combine, pessimism=2.0, clip=0.8))
    scores = bold.score([question(1000), question(1001)], [SHORT, LONG])
    mean, deviation = scores.members.mean(0), scores.members.std(0)
    expected = {"mean": mean, "pessimistic": mean - 2 * deviation, "minimum": scores.members.min(0).values}[combine]
    torch.testing.assert_close(scores.heads, expected.clamp(-0.8, 0.8))
    torch.testing.assert_close(scores.value, scores.heads)
    torch.testing.assert_close(scores.members, bold.members([question(1000), question(1001)], [SHORT, LONG]))


def test_rules_are_paid_beside_the_heads(model: RewardModel) -> None:
    rules = read_rules([{"kind": "length", "maximum": 5, "unit": "words", "weight": 2.0}])
    ruled = replace(model, settings=replace(model.settings, rules=rules))
    scores = ruled.score([question(1000)] * 2, [SHORT, LONG])
    assert scores.rules["length"][0] == 0
    assert scores.rules["length"][1] == -2.0
    torch.testing.assert_close(scores.value, scores.heads + scores.rules["length"])


def test_rules_count_the_tokens_of_the_whole_answer(model: RewardModel) -> None:
    text = f"{LONG} " * 20
    tokens = len(model.base.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert tokens > model.settings.context
    for maximum, broken in ((tokens, False), (tokens - 1, True)):
        rules = read_rules([{"kind": "length", "maximum": maximum, "falloff": 1, "weight": 1.0}])
        ruled = replace(model, settings=replace(model.settings, rules=rules))
        assert float(ruled.score([question(0)], [text]).rules["length"]) == (-1.0 if broken else 0.0)


def test_rated_answers_lie_around_zero_with_a_deviation_of_one(model: RewardModel, frozen: Frozen) -> None:
    rated = evidence_from(frozen, "train")
    mean = model.score(rated.prompts, rated.texts).mean
    assert abs(float(mean.mean())) < 1e-3
    assert float(mean.std(correction=0)) == pytest.approx(1, abs=1e-3)


def test_answers_of_the_length_that_people_like_are_paid_best(tiny_base: Base) -> None:
    """120 thumbs by people who like 15 to 25 words, a tenth of them slips."""
    dice = random.Random(1)

    def text(words: int) -> str:
        return " ".join(
            dice.choice(["it", "left", "on", "Monday", "and", "arrives", "today", "at", "noon"]) for _ in range(words)
        )

    thumbs = []
    for i in range(120):
        words = dice.randint(5, 45)
        liked = (15 <= words <= 25) != (dice.random() < 0.1)
        thumbs.append(Thumb(question(i), text(words), liked, "thumb", f"p{i % 6}", f"c{i}", "train"))
    fitted = fit_reward(tiny_base, Frozen("0" * 64, [], thumbs, []), RewardSettings(context=256))

    at = (1, 5, 10, 20, 45, 120)
    scores = [fitted.score([question(1000 + i) for i in range(10)], [text(words) for _ in range(10)]) for words in at]
    paid = {words: float(each.value.mean()) for words, each in zip(at, scores, strict=True)}
    assert all(paid[20] > paid[words] + 0.5 for words in (1, 5, 45, 120))
    assert not any(each.clipped.any() for each in scores[2:])
    assert torch.cat([each.value for each in scores]).std() > 0.5
    # What is shorter than all that was rated is thought as little of as the shortest, and no head reads it elsewhere.
    assert (scores[0].members.mean(1) - scores[1].members.mean(1)).abs().max() < 5
    assert scores[3].deviation.max() < 1.5


def test_the_regime_is_chosen_by_name_or_by_the_data(tiny_base: Base) -> None:
    gpu = replace(tiny_base, model=SimpleNamespace(device=torch.device("cuda")))
    assert regime_of(RewardSettings(), tiny_base, 10**6) == "heads"
    assert regime_of(RewardSettings(), gpu, 10**6) == "lora"
    assert regime_of(RewardSettings(lora_from=500), gpu, 499) == "heads"
    assert regime_of(RewardSettings(regime="lora"), tiny_base, 8) == "lora"


def test_a_tuned_trunk_serves_like_a_frozen_one(tiny_base: Base, frozen: Frozen, tmp_path: Path) -> None:
    settings = replace(SETTINGS, regime="lora", lora_rank=2, lora_alpha=4.0, lora_epochs=2)
    before = {name: each.clone() for name, each in tiny_base.model.named_parameters()}
    tuned = fit_reward(tiny_base, frozen, settings)
    assert all(torch.equal(each, before[name]) for name, each in tiny_base.model.named_parameters())
    prompts, answers = [question(1000), question(1001)], [SHORT, LONG]
    scores = tuned.score(prompts, answers)
    assert scores.value[0] > scores.value[1]
    tuned.save(tmp_path)
    again = load_reward(tmp_path, tiny_base)
    assert again.trunk.regime == "lora"
    torch.testing.assert_close(again.score(prompts, answers).value, scores.value, rtol=1e-4, atol=1e-4)
    assert len(tuned.judges) == 2  # whom to believe comes from the fit that saw everybody


def test_a_tuned_trunk_wants_ratings_left_for_its_heads(tiny_base: Base, frozen: Frozen) -> None:
    few = Frozen("", [pair for pair in frozen.pairs if pair.split == "train"][:16], [], [])
    with pytest.raises(Problem, match="16 ratings leave") as caught:
        fit_reward(tiny_base, few, replace(SETTINGS, regime="lora"))
    assert caught.value.status == 3


def test_it_comes_back_from_its_folder_as_it_was(model: RewardModel, tiny_base: Base, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = load_reward(tmp_path, tiny_base)
    prompts, answers = [question(7)] * 2, [SHORT, LONG]
    torch.testing.assert_close(again.score(prompts, answers).value, model.score(prompts, answers).value)
    for name in ("calibration", "dataset", "people", "judges", "settings"):
        assert getattr(again, name) == getattr(model, name), name
    torch.testing.assert_close(again.crossfit.difference, model.crossfit.difference)
    torch.testing.assert_close(again.likelihoods.threshold, model.likelihoods.threshold)


def test_another_base_is_refused(model: RewardModel, load_tiny: Callable[[], Base], tmp_path: Path) -> None:
    model.save(tmp_path)
    base = load_tiny()
    object.__setattr__(base, "fingerprint", "something else")
    with pytest.raises(Problem, match="was fitted on"):
        load_reward(tmp_path, base)
    with pytest.raises(Problem, match="No reward model"):
        load_reward(tmp_path / "nowhere", base)


def test_a_folder_of_an_older_edition_is_refused(model: RewardModel, tiny_base: Base, tmp_path: Path) -> None:
    model.save(tmp_path)
    facts = json.loads((tmp_path / "reward.json").read_text(encoding="utf-8"))
    del facts["regime"]
    (tmp_path / "reward.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(Problem, match="older edition"):
        load_reward(tmp_path, tiny_base)


def test_one_that_does_not_say_what_range_was_rated_is_refused(
    model: RewardModel, tiny_base: Base, tmp_path: Path
) -> None:
    """Such as were kept before heads were bounded by it: what it would pay for a length that nobody rated is noise."""
    model.save(tmp_path)
    file = tmp_path / "reward.safetensors"
    ranges = ("low", "high", "shortest", "longest", "centre")
    old = {name: each for name, each in load_file(file).items() if name.removeprefix("heads.") not in ranges}
    save_file(old, file)
    with pytest.raises(Problem, match=r"older edition.*range") as refused:
        load_reward(tmp_path, tiny_base)
    assert "ratchet reward fit" in refused.value.hint


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
