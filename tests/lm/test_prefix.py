"""Beginnings that were read before: found by version and person, bounded in memory, given up in order."""

from __future__ import annotations

import torch

from lm.lora import Version
from lm.prefix import BLOCK, Prefix, PrefixCache

ZERO, ONE = Version("0", 0, {}), Version("1", 4, {})
WORDS = list(range(100, 100 + 5 * BLOCK))


def prefix(tokens: list[int], version: Version = ZERO, person: str = "ann") -> Prefix:
    states = torch.zeros(2, len(tokens), 1, 4)
    return Prefix((version, person), tokens, states, states.clone())


SIZE = prefix([0] * BLOCK).bytes


def test_the_longest_shared_beginning() -> None:
    cache = PrefixCache(100 * SIZE)
    short, long = prefix(WORDS[: 2 * BLOCK]), prefix(WORDS[: 4 * BLOCK])
    cache.add(short)
    cache.add(long)
    assert cache.find(ZERO, "ann", WORDS) == (long, 4 * BLOCK)
    assert cache.find(ZERO, "ann", [*WORDS[: 2 * BLOCK + 3], 1, 2, 3]) == (long, 2 * BLOCK + 3)
    assert cache.find(ZERO, "ann", WORDS[: 2 * BLOCK]) == (long, 2 * BLOCK - 1), "the last token is read again"
    assert cache.find(ZERO, "ann", [1, *WORDS]) is None
    assert cache.find(ZERO, "ann", WORDS[: BLOCK - 1]) is None


def test_another_version_or_person_finds_nothing() -> None:
    cache = PrefixCache(100 * SIZE)
    cache.add(prefix(WORDS))
    assert cache.find(ONE, "ann", WORDS) is None
    assert cache.find(ZERO, "bob", WORDS) is None
    assert cache.find(ZERO, "ann", WORDS) is not None


def test_the_least_recently_used_goes_first() -> None:
    cache = PrefixCache(3 * SIZE)
    for start in (0, 1, 2):
        cache.add(prefix(WORDS[start : start + BLOCK]))
    cache.find(ZERO, "ann", WORDS)  # the first one is used again
    cache.add(prefix(WORDS[3 : 3 + BLOCK]))
    assert cache.bytes == 3 * SIZE
    assert [cache.find(ZERO, "ann", WORDS[start:]) is not None for start in (0, 1, 2, 3)] == [True, False, True, True]


def test_what_goes_on_takes_the_place_of_what_it_goes_on_from() -> None:
    cache = PrefixCache(100 * SIZE)
    first, second = prefix(WORDS[: 2 * BLOCK]), prefix(WORDS[: 4 * BLOCK])
    cache.add(first)
    cache.add(second, replaces=first)
    assert cache.bytes == second.bytes
    assert cache.find(ZERO, "ann", WORDS[: 3 * BLOCK]) == (second, 3 * BLOCK - 1)


def test_too_short_and_too_large_are_not_kept() -> None:
    cache = PrefixCache(2 * SIZE)
    cache.add(prefix(WORDS[: BLOCK - 1]))
    cache.add(prefix(WORDS[: 3 * BLOCK]))
    assert cache.bytes == 0
    assert cache.find(ZERO, "ann", WORDS) is None


def test_only_living_versions_are_kept() -> None:
    cache = PrefixCache(100 * SIZE)
    cache.add(prefix(WORDS, ZERO))
    cache.add(prefix(WORDS, ONE))
    cache.keep({ONE})
    assert cache.find(ZERO, "ann", WORDS) is None
    assert cache.find(ONE, "ann", WORDS) is not None
    assert cache.bytes == prefix(WORDS).bytes
