"""Trainings in processes of their own: the configurations, what is refused, and two processes that do what one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch import Tensor

from lm.adapters import read_adapter
from lm.loading import Base
from problems import Problem
from rl.checkpoints import last_checkpoint
from rl.launch import CONFIGURATIONS, configuration, refuse_shards
from rl.update import run_update
from rl.workspace import Knobs
from store.database import Store, open_store
from store.updates import list_updates

KINDS = {
    "one_gpu": (DistributedType.NO, 1, False),
    "ddp": (DistributedType.MULTI_GPU, 2, False),
    "fsdp2": (DistributedType.FSDP, 2, False),
    "deepspeed_zero3": (DistributedType.DEEPSPEED, 2, False),
    "two_cpu": (DistributedType.MULTI_GPU, 2, True),  # see the file's comment
}


def test_accelerate_reads_every_configuration() -> None:
    assert {file.stem for file in CONFIGURATIONS.glob("*.yaml")} == set(KINDS)
    for name, kind in KINDS.items():
        file, config = configuration(name)
        assert (config.distributed_type, config.num_processes, config.use_cpu) == kind, file
        assert configuration(str(file))[0] == file
    assert configuration("fsdp2")[1].fsdp_config["fsdp_version"] == 2
    assert configuration("deepspeed_zero3")[1].deepspeed_config["zero_stage"] == 3


def test_a_configuration_that_is_not_there_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="'four_gpu', which is neither") as refused:
        configuration("four_gpu")
    assert "ddp, deepspeed_zero3, fsdp2, one_gpu, two_cpu" in refused.value.hint
    broken = tmp_path / "broken.yaml"
    broken.write_text("distributed_type: MULTI_GPU\ncolour: red\n")
    with pytest.raises(Problem, match="unknown keys"):
        configuration(str(broken))


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed_zero3"])
def test_a_configuration_that_spreads_the_weights_is_refused_before_anything_is_begun(
    store: Store, tiny_base: Base, knobs: Knobs, name: str
) -> None:
    with pytest.raises(Problem, match=rf"{name}\.yaml spreads the weights") as refused:
        run_update(store, tiny_base, replace(knobs, update=replace(knobs.update, accelerate=name)))
    assert refused.value.status == 2
    with store.session() as session:
        assert list_updates(session) == []
    for whole in ("one_gpu", "ddp", "two_cpu"):
        refuse_shards(*configuration(whole))


def worker_of_rank(rank: int) -> psutil.Process:
    """The process of a launched training that has this rank."""
    return next(
        child
        for child in psutil.Process().children(recursive=True)
        if "rl.worker" in child.cmdline() and child.environ().get("RANK") == str(rank)
    )


@pytest.mark.timeout(240)
def test_two_processes_killed_and_resumed_do_what_one_does(
    store: Store, tiny_base: Base, knobs: Knobs, tmp_path: Path
) -> None:
    """The same answers, rewards and steps. Rounding differs, since each sums over half of a minibatch: some 1e-7 a
    gradient, which AdamW's division by its size turns into as much as 1e-5 a step where a gradient is near zero; the
    bound is a thirtieth of what one step may move (the learning rate).
    """
    knobs = replace(
        knobs,
        ppo=replace(knobs.ppo, updates=3, epochs=2),
        anchor=replace(knobs.anchor, share=1.0),
        stopping=replace(knobs.stopping, every=3),
    )
    home = tmp_path / "copy"
    shutil.copytree(store.home, home)
    critics: dict[str, dict[str, Tensor]] = {}

    def keep_critics(label: str, done: int, total: int) -> None:
        for checkpoint in (store.home / "updates/1/train.tmp").glob("checkpoint-*/critic.safetensors"):
            critics[checkpoint.parent.name] = load_file(checkpoint)

    one = run_update(store, tiny_base, knobs, progress=keep_critics)

    launched = replace(knobs, update=replace(knobs.update, accelerate="two_cpu"))
    other = open_store(home)
    heard: list[tuple[int, int]] = []

    def kill_one(label: str, done: int, total: int) -> None:
        if label.startswith("PPO"):
            heard.append((done, total))
            if len(heard) == 2:
                os.kill(worker_of_rank(1).pid, signal.SIGKILL)

    with pytest.raises(Problem, match=r"two_cpu\.yaml ended with exit code 1") as killed:
        run_update(other, tiny_base, launched, progress=kill_one)
    assert "exitcode: -9" in str(killed.value)
    assert heard[:2] == [(4, 12), (8, 12)]
    work = home / "updates/1/train.tmp"
    begun = last_checkpoint(work)
    assert begun is not None
    assert (begun / "rng_state_1.pth").is_file()
    for name, value in load_file(begun / "critic.safetensors").items():
        torch.testing.assert_close(value, critics[begun.name][name], rtol=0, atol=1e-5)

    two = run_update(other, tiny_base, launched)
    other.close()
    assert (two.dataset, two.verdict) == (one.dataset, one.verdict)
    expected = read_adapter(store.home / "updates/1/train/adapter", tiny_base).weights
    for name, matrices in read_adapter(home / "updates/1/train/adapter", tiny_base).weights.items():
        for ours, theirs in zip(matrices, expected[name], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    curves = [
        [json.loads(line) for line in (each / "updates/1/train/curve.jsonl").read_text().splitlines()]
        for each in (store.home, home)
    ]
    assert [row["step"] for row in curves[1]] == [row["step"] for row in curves[0]]  # each row once
    for whole, shared in zip(*curves, strict=True):
        for figure in ("ppo/score", "ppo/kl", "reward/heads", "reward/std", "reward/clipped", "grad_norm"):
            if figure in whole:
                assert shared[figure] == pytest.approx(whole[figure], abs=1e-4), figure
