from __future__ import annotations

import itertools

import torch
from transformers import PreTrainedTokenizerFast

from lm.starter.batches import UNLEARNED, Place, batches


def test_targets_are_the_following_token_where_the_assistant_speaks(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, targets, _ = next(batches(tokenizer, 0, 2048, Place()))
    learned = targets != UNLEARNED
    assert learned.any(dim=1).all()
    inside = learned[:, :-1]
    assert torch.equal(targets[:, :-1][inside], ids[:, 1:][inside] * 1) or (targets == tokenizer.eos_token_id).any()
    row = targets[0][learned[0]]
    assert row[-1] == tokenizer.eos_token_id
    assert tokenizer.pad_token_id not in targets


def test_batches_fill_their_room_and_no_more(tokenizer: PreTrainedTokenizerFast) -> None:
    made = list(itertools.islice(batches(tokenizer, 0, 2048, Place()), 40))
    assert all(ids.numel() <= 2048 for ids, _, _ in made)
    padding = sum((ids == tokenizer.pad_token_id).sum().item() for ids, _, _ in made)
    assert padding < 0.05 * sum(ids.numel() for ids, _, _ in made)


def test_a_stream_goes_on_where_it_stopped(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = list(itertools.islice(batches(tokenizer, 1, 4096, Place()), 50))
    for stop in (3, 40):
        going_on = next(batches(tokenizer, 1, 4096, whole[stop][2]))
        assert torch.equal(going_on[0], whole[stop + 1][0])
        assert torch.equal(going_on[1], whole[stop + 1][1])


def test_processes_see_different_dialogues(tokenizer: PreTrainedTokenizerFast) -> None:
    first, second = (next(batches(tokenizer, 0, 2048, Place(), rank=rank, processes=2))[0] for rank in (0, 1))
    assert first.shape != second.shape or not torch.equal(first, second)
