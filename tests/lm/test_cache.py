"""The slot cache against a plain list of what was written."""

from __future__ import annotations

import torch

from lm.cache import SMALLEST, SlotCache

HEADS, WIDTH = 2, 4


def states(rows: int, tokens: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, HEADS, tokens, WIDTH, generator=torch.Generator().manual_seed(seed))


def write(cache: SlotCache, first: int, starts: list[int], tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    positions = torch.tensor(starts)[:, None] + torch.arange(tokens)
    cache.open(first, first + len(starts), positions, max(starts) + tokens)
    new = states(len(starts), tokens, seed)
    for layer in (0, 1):
        keys, values = cache.update(new + layer, -new - layer, layer)
    return keys, values


def test_each_row_is_written_at_its_own_place() -> None:
    cache = SlotCache(layers=2, slots=4, context=512)
    write(cache, 0, [0, 0], 5, seed=1)
    keys, values = write(cache, 0, [5, 3], 1, seed=2)
    assert keys.shape == (2, HEADS, 6, WIDTH)
    prompt, new = states(2, 5, 1) + 1, states(2, 1, 2) + 1
    torch.testing.assert_close(keys[0], torch.cat([prompt[0], new[0]], dim=1))
    torch.testing.assert_close(keys[1, :, :4], torch.cat([prompt[1, :, :3], new[1]], dim=1))
    torch.testing.assert_close(values, -keys)


def test_growing_keeps_what_is_there_and_starts_small() -> None:
    cache = SlotCache(layers=2, slots=32, context=4096)
    write(cache, 0, [0], 5, seed=1)
    small = cache.bytes
    assert small == 2 * 2 * 1 * SMALLEST * HEADS * WIDTH * 4, "one slot of the smallest length, whatever the context"
    keys, _ = write(cache, 2, [SMALLEST + 3], 1, seed=2)
    assert cache.bytes == 8 * small, "four slots of twice the length"
    keys, _ = write(cache, 0, [5], 1, seed=3)
    torch.testing.assert_close(keys[0, :, :5], states(1, 5, 1)[0] + 1)


def test_a_row_moves_into_a_hole() -> None:
    cache = SlotCache(layers=2, slots=4, context=512)
    write(cache, 0, [0, 0, 0], 5, seed=1)
    cache.move(2, 0, 5)
    keys, _ = write(cache, 0, [5], 1, seed=2)
    torch.testing.assert_close(keys[0, :, :5], states(3, 5, 1)[2] + 1)


def test_what_is_not_written_is_zero() -> None:
    cache = SlotCache(layers=2, slots=4, context=512)
    keys, values = write(cache, 0, [0, 7], 2, seed=1)
    assert not keys[0, :, 2:].any()
    assert not values[0, :, 2:].any()
    cache.clear(1)
    keys, _ = write(cache, 0, [0, 7], 1, seed=2)
    assert not keys[1, :, :7].any()


def test_a_slot_begins_with_what_another_held() -> None:
    cache = SlotCache(layers=2, slots=4, context=512)
    write(cache, 0, [0], 5, seed=1)
    kept = cache.read(0, 4)
    write(cache, 0, [0], 5, seed=2)
    cache.write(2, *kept)
    keys, values = write(cache, 2, [4], 1, seed=3)
    torch.testing.assert_close(keys[0, :, :4], states(1, 5, 1)[0, :, :4] + 1)
    torch.testing.assert_close(values, -keys)


def test_kept_in_another_number_format() -> None:
    cache = SlotCache(layers=2, slots=2, context=512, dtype=torch.float64)
    keys, _ = write(cache, 0, [0], 3, seed=1)
    assert keys.dtype == torch.float64
    torch.testing.assert_close(keys[0].float(), states(1, 3, 1)[0] + 1)
