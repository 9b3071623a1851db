"""The starter's tokenizer, learned once for all of this folder's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of seed 0, as `train_tokenizer` makes it. Never change it."""
    from lm.starter.tokenizer import train_tokenizer

    return train_tokenizer(0, 1024)
