"""What is looked at before an update's row is opened, so that nothing is begun which cannot end in a verdict."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lm.evaluation import wilson
from lm.loading import Base
from lm.suites import load_suite
from problems import Problem
from reward.evidence import FIRST
from reward.model import check_ratings
from reward.readable import LeftOut, Reader, check_share, reward_reader, unreadable, without
from rl.algorithms import check_batch, check_groups
from rl.arguments import check_minibatches
from rl.encoded_prompts import prompt_room, raise_room
from rl.hold import check_anchor_settings
from rl.launch import configuration, refuse_shards
from rl.preference_data import check_evidence, with_answer_length
from rl.rollout import Server, check_server
from rl.workspace import Knobs, prompts_of
from store.frozen import Frozen

GIGABYTE = 1e9


@dataclass(frozen=True)
class Readable:
    """What an update learns from: the rows that the model can read, and those that are left out."""

    frozen: Frozen
    left_out: list[LeftOut]


def check_settings(base: Base, knobs: Knobs, server: Server | None) -> None:
    """Raise Problem where settings contradict each other or the model, or the suite cannot be loaded."""
    check_anchor_settings(knobs.anchor)
    launcher_of(knobs)
    check_server(knobs.ppo, server)
    processes = processes_of(knobs)
    if knobs.update.algorithm == "ppo":
        check_minibatches(knobs.ppo, processes)
    elif knobs.update.algorithm in ("grpo", "rloo"):
        check_groups(knobs.ppo, knobs.algorithms, processes)
    else:
        check_batch(knobs.update.algorithm, knobs.algorithms, processes)
    if prompt_room(base, knobs.ppo) < 1:
        raise Problem(
            f"ppo.max_tokens {knobs.ppo.max_tokens} and ppo.prompt_tokens {knobs.ppo.prompt_tokens} leave no room for "
            f"a prompt in the model's context of {base.context}.",
            hint="Lower ppo.max_tokens, or raise ppo.prompt_tokens.",
            status=2,
        )
    if knobs.gate.skill_items < 1 or not load_suite(knobs.update.suite, knobs.gate.skill_items, 0, "test"):
        raise Problem(
            f"The gate has no questions: suite {knobs.update.suite}, gate.skill_items {knobs.gate.skill_items}.",
            hint="Take a suite with more items, or raise gate.skill_items.",
            status=2,
        )


def launcher_of(knobs: Knobs) -> Path | None:
    """accelerate's configuration of the training; None for this process. Problem (status 2) for one that cannot be."""
    if not knobs.update.accelerate:
        return None
    launcher, config = configuration(knobs.update.accelerate)
    refuse_shards(launcher, config)
    return launcher


def processes_of(knobs: Knobs) -> int:
    """How many processes train."""
    return int(configuration(knobs.update.accelerate)[1].num_processes or 1) if knobs.update.accelerate else 1


def check_disk(home: Path, least: float) -> None:
    """Raise Problem where fewer than `least` gigabytes are free in the store's home."""
    free = shutil.disk_usage(home).free / GIGABYTE
    if free < least:
        raise Problem(
            f"{free:.2f} GB are free in {home}; an update begins with {least:g} or more (update.min_free_disk).",
            hint="Free some space, or lower update.min_free_disk; `ratchet update --discard` ends an unfinished one.",
        )


def readable_rows(base: Base, frozen: Frozen, knobs: Knobs) -> Readable:
    """The rows that all of an update can read. Problem, which names the others, where they are too many."""
    ppo = with_answer_length(base, frozen, knobs.ppo)
    room = prompt_room(base, ppo)
    readers = [Reader(room, room, raise_room(base, ppo)), reward_reader(base, knobs.reward.context)]
    left_out = unreadable(base, frozen, readers)
    check_share(frozen, left_out, knobs.update.max_left_out)
    return Readable(without(frozen, ((each.kind, each.row) for each in left_out)), left_out)


def check_data(base: Base, frozen: Frozen, knobs: Knobs) -> None:
    """Raise Problem (status 3) where an update could learn nothing from these rows, or never pass the gate."""
    check_evidence(knobs.update.algorithm, frozen)
    check_ratings(base, frozen, knobs.reward)
    for split in ("train", "holdout"):
        prompts_of(frozen, split)
    pairs = sum(row.kind == "pair" and row.outcome == FIRST and row.draw == "uniform" for row in frozen.pairs)
    bound = knobs.gate.min_reward_accuracy
    if wilson(pairs, pairs)[0] <= bound:
        raise Problem(
            f"The gate asks that the reward model be right on more than {bound:.0%} of pairs, beyond doubt; the "
            f"{pairs} decided pairs could not show it even if it were right on all.",
            hint="Compare more answers side by side, or import pairs.",
            status=3,
        )
