"""The frozen trunk under the heads: features of the base, whatever adapters it carries, and nothing to keep."""

from __future__ import annotations

from pathlib import Path

import torch

from lm.loading import Base
from reward.features import trunk_features
from reward.trunk import FrozenTrunk, Trunk

PROMPTS = [[{"role": "user", "content": "Where is my parcel?"}]] * 3
ANSWERS = ["On Monday.", "the sun is warm " * 30, "Why?"]


def test_it_reads_with_its_own_context(tiny_base: Base) -> None:
    trunk: Trunk = FrozenTrunk(tiny_base, 64)
    assert (trunk.base, trunk.regime) == (tiny_base, "heads")
    seen: list[int] = []
    features, tokens = trunk.features(PROMPTS, ANSWERS, seen.append)
    expected, counts = trunk_features(tiny_base, PROMPTS, ANSWERS, context=64)
    assert torch.equal(features, expected)
    assert torch.equal(tokens, counts)
    assert int(tokens.max()) == 32
    assert seen[-1] == 3


def test_it_keeps_nothing(tiny_base: Base, tmp_path: Path) -> None:
    FrozenTrunk(tiny_base, 64).save(tmp_path, torch.zeros(3))
    assert list(tmp_path.iterdir()) == []
