"""Keys and values of what was read before, so that a conversation's next turn reads only what is new in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import Tensor

from lm.lora import Version

BLOCK = 16  # tokens by which beginnings are told apart
Owner = tuple[Version, str]  # a version and a person


@dataclass(frozen=True, eq=False)
class Prefix:
    """Tokens that one version has read for one person; their keys and values [layers, tokens, kv heads, head dim]."""

    owner: Owner
    tokens: list[int]
    keys: Tensor
    values: Tensor

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self.keys.nbytes + self.values.nbytes


class PrefixCache:
    """Beginnings by version and person, the least recently used given up first.

    By version, since another adapter computes other keys and values. By person, since whoever gets an answer sooner
    could tell that somebody else had asked the same.

    Args:
        limit: bytes of keys and values kept; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[int, Prefix] = OrderedDict()  # by identity
        self._ends: dict[tuple[Owner, int], Prefix] = {}  # by the hash of the first one, two, ... blocks
        self.bytes = 0

    def find(self, version: Version, person: str, prompt: Sequence[int]) -> tuple[Prefix, int] | None:
        """The prefix that shares the longest beginning with `prompt`, and how many tokens they share.

        At least one token of the prompt is always left to read, since its logits are wanted.
        """
        owner, best = (version, person), None
        for mark in _marks(prompt):
            found = self._ends.get((owner, mark))
            if found is None:
                break
            best = found
        if best is None:
            return None
        shared = 0
        for ours, theirs in zip(best.tokens, prompt[:-1], strict=False):
            if ours != theirs:
                break
            shared += 1
        if shared < BLOCK:  # two beginnings of one hash
            return None
        self._held.move_to_end(id(best))
        return best, shared

    def add(self, prefix: Prefix, replaces: Prefix | None = None) -> None:
        """Keep a prefix; of one that it goes on from, nothing is lost when that one is given up."""
        if replaces is not None:
            self._forget(replaces)
        if len(prefix.tokens) < BLOCK or prefix.bytes > self.limit:
            return
        self._held[id(prefix)] = prefix
        self.bytes += prefix.bytes
        for mark in _marks(prefix.tokens):
            self._ends[prefix.owner, mark] = prefix
        while self.bytes > self.limit:
            self._forget(next(iter(self._held.values())))

    def keep(self, versions: Collection[Version]) -> None:
        """Give up what belongs to any other version."""
        for prefix in [each for each in self._held.values() if each.owner[0] not in versions]:
            self._forget(prefix)

    def _forget(self, prefix: Prefix) -> None:
        if self._held.pop(id(prefix), None) is None:
            return
        self.bytes -= prefix.bytes
        for mark in _marks(prefix.tokens):
            if self._ends.get((prefix.owner, mark)) is prefix:
                del self._ends[prefix.owner, mark]


def _marks(tokens: Sequence[int]) -> list[int]:
    """A hash of the first block, of the first two blocks, and so on."""
    marks, mark = [], 0
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        mark = hash((mark, *tokens[end - BLOCK : end]))
        marks.append(mark)
    return marks
