"""Pairs chosen by the heads of the reward model in the store's folder."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from chat import explorer as module
from chat.explorer import Explorer
from lm.loading import Base, load_text
from reward.exploration import Drawn, thompson_chances
from reward.model import RewardModel, load_reward

from .conftest import give_reward

ASK = [{"role": "user", "content": "Where is my parcel?"}]
ANSWERS = ["On Monday.", "I do not know.", "It left the warehouse.", "Why?", "Two plus three is five.", "太阳很暖和。"]


@pytest.fixture
def explorer(tmp_path: Path, tiny_base: Base) -> Explorer:
    """One that looks each time it is asked, and draws nothing evenly."""
    return Explorer(tmp_path, tiny_base, candidates=6, uniform_share=0.0, look_seconds=0.0)


async def test_without_a_reward_model_nothing_is_chosen(explorer: Explorer, fitted: Path, tmp_path: Path) -> None:
    assert not await explorer.ready()
    assert await explorer.choose(ASK, ANSWERS) is None
    give_reward(fitted, tmp_path)
    assert await explorer.ready(), "it is seen as soon as it is there"


async def test_without_weights_or_candidates_nothing_is_chosen(
    fitted: Path, tmp_path: Path, tiny_base: Base, tiny_folder: Path
) -> None:
    give_reward(fitted, tmp_path)
    assert not await Explorer(
        tmp_path, load_text(str(tiny_folder)), candidates=6, uniform_share=0.2, look_seconds=0.0
    ).ready()
    assert not await Explorer(tmp_path, tiny_base, candidates=2, uniform_share=0.2, look_seconds=0.0).ready()


async def test_the_heads_choose(explorer: Explorer, fitted: Path, tmp_path: Path, tiny_base: Base) -> None:
    give_reward(fitted, tmp_path)
    assert await explorer.ready()
    chances = thompson_chances(load_reward(fitted, tiny_base).members([ASK] * 6, ANSWERS))
    assert int((chances > 0).sum()) < 15, "a draw that takes no heed of the rewards would show"
    for _ in range(8):
        drawn = await explorer.choose(ASK, ANSWERS)
        assert drawn is not None
        assert drawn.draw == "thompson"
        assert 0 < drawn.propensity == pytest.approx(float(chances[drawn.first, drawn.second]))
    assert await explorer.choose(ASK, ["the same"]) == Drawn(0, 0, "uniform", 1.0)


async def test_a_share_is_drawn_evenly(fitted: Path, tmp_path: Path, tiny_base: Base) -> None:
    give_reward(fitted, tmp_path)
    explorer = Explorer(tmp_path, tiny_base, candidates=6, uniform_share=1.0, look_seconds=0.0)
    assert await explorer.ready()
    drawn = await explorer.choose(ASK, ANSWERS)
    assert drawn is not None
    assert (drawn.draw, drawn.propensity) == ("uniform", pytest.approx(1 / 15))


async def test_it_computes_in_a_thread_that_ends(
    explorer: Explorer, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    members = RewardModel.members

    def noted(*arguments: Any) -> torch.Tensor:
        threads.append(threading.current_thread())
        return members(*arguments)

    monkeypatch.setattr(RewardModel, "members", noted)
    give_reward(fitted, tmp_path)
    assert await explorer.ready()
    assert await explorer.choose(ASK, ANSWERS)
    assert len(threads) == 2, "tried once when it was loaded, and asked once"
    assert not any(each.is_alive() for each in threads)
    assert threading.current_thread() not in threads


async def test_a_newer_one_takes_over(
    explorer: Explorer, fitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chat.explorer")
    first = give_reward(fitted, tmp_path)
    for _ in range(3):
        assert await explorer.ready()
    os.utime(first / "reward.json", (1e9, 1e9))
    second = give_reward(fitted, tmp_path, "updates/1/reward")
    for _ in range(3):
        assert await explorer.ready()
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"the reward model in {each} chooses which two answers are shown" for each in (first, second)]


def unreadable(folder: Path) -> None:
    (folder / "reward.json").write_text("{")


def cut_off(folder: Path) -> None:
    weights = folder / "reward.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def not_finite(folder: Path) -> None:
    weights = load_file(folder / "reward.safetensors")
    save_file({name: torch.full_like(each, torch.nan) for name, each in weights.items()}, folder / "reward.safetensors")


def of_another_base(folder: Path) -> None:
    facts = folder / "reward.json"
    facts.write_text(facts.read_text().replace('"fingerprint": "', '"fingerprint": "0'))


@pytest.mark.parametrize("damage", [unreadable, cut_off, not_finite, of_another_base])
async def test_one_that_cannot_be_used_is_told_once(
    explorer: Explorer,
    fitted: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    folder = give_reward(fitted, tmp_path)
    damage(folder)
    for _ in range(3):
        assert not await explorer.ready()
    [record] = caplog.records
    assert str(folder) in record.getMessage()
    give_reward(fitted, tmp_path, "updates/7/reward")
    assert await explorer.ready(), "the next one is tried"


async def test_it_looks_only_now_and_then(
    fitted: Path, tmp_path: Path, tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(module, "newest_reward", lambda home: looks.append(home))
    explorer = Explorer(tmp_path, tiny_base, candidates=6, uniform_share=0.2, look_seconds=1000.0)
    assert looks == [], "not before a pair is wanted"
    for _ in range(3):
        assert not await explorer.ready()
    assert looks == [tmp_path]


async def test_what_it_cannot_read_is_left_to_chance(
    explorer: Explorer, fitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    give_reward(fitted, tmp_path)
    assert await explorer.ready()
    endless = [{"role": "system", "content": "Be brief. " * 40}, *ASK]  # longer than a reward model reads
    assert await explorer.choose(endless, ANSWERS) is None
    [record] = caplog.records
    assert "could not choose" in record.getMessage()
    assert await explorer.choose(ASK, ANSWERS) is not None
