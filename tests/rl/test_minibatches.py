"""Minibatches: every answer once an epoch, another order each epoch, the same company for any number of processes."""

from __future__ import annotations

import pytest
import torch

from rl.minibatches import minibatch_rows, take_rows


def test_every_answer_is_in_one_minibatch_and_each_epoch_deals_anew() -> None:
    rows = minibatch_rows(24, 4, seed=0)
    assert rows.shape == (4, 6)
    assert sorted(rows.flatten().tolist()) == list(range(24))
    assert not torch.equal(rows, minibatch_rows(24, 4, seed=1))


def test_two_answers_to_a_prompt_are_kept_apart() -> None:
    for minibatch in minibatch_rows(32, 4, seed=3).tolist():
        assert len({row // 2 for row in minibatch}) == len(minibatch)


@pytest.mark.parametrize("processes", [2, 3])
def test_the_same_answers_meet_whatever_the_number_of_processes(processes: int) -> None:
    whole = minibatch_rows(24, 4, seed=5)
    share = 24 // processes
    parts = [minibatch_rows(share, 4, seed=5, process=i, processes=processes) + i * share for i in range(processes)]
    for one, several in zip(whole.tolist(), torch.cat(parts, dim=1).tolist(), strict=True):
        assert sorted(one) == sorted(several)


def test_rows_are_taken_of_tensors_and_lists_and_scalars_stay() -> None:
    rollout = {"ids": torch.arange(8).view(4, 2), "text": list("abcd"), "tokens": torch.tensor(7), "images": None}
    taken = take_rows(rollout, torch.tensor([2, 0]))
    assert taken["ids"].tolist() == [[4, 5], [0, 1]]
    assert (taken["text"], taken["tokens"], taken["images"]) == (["c", "a"], rollout["tokens"], None)
