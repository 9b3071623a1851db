"""What runs side by side is checked on text, by probabilities; a number format that is too coarse gives way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lm.batching import UnfitFormat, verify_batching
from lm.engine import Engine
from lm.loading import Base, load_base
from lm.serviceable import load_serviceable
from problems import Problem


def test_tokens_that_nobody_trained_are_not_asked(load_tiny: Callable[[], Base]) -> None:
    """Reserved tokens with enormous embeddings wreck a narrow format; no text holds them, so they do not count."""
    base = load_tiny()
    narrow = replace(base, model=base.model.to(torch.bfloat16))
    with torch.no_grad():
        narrow.model.get_input_embeddings().weight[:5] *= 1e6
    with Engine(narrow) as engine:
        assert engine.base is narrow


def _noisy(model: torch.nn.Module, size: float) -> Callable[[int, torch.Tensor, list[int], list[int] | None], object]:
    """A forward that computes what the model does, with one token's logit raised by `size`."""
    seen: dict[int, torch.Tensor] = {}

    def forward(first: int, tokens: torch.Tensor, filled: list[int], picks: list[int] | None) -> torch.Tensor:
        rows = []
        for slot, (ids, held) in enumerate(zip(tokens, filled, strict=True)):
            ids = ids[: picks[slot] + 1] if picks else ids
            seen[slot] = torch.cat([seen[slot][:held], ids]) if held else ids
            logits = model(seen[slot][None], use_cache=False).logits[0, -1].float()
            logits[0] += size
            rows.append(logits)
        return torch.stack(rows)

    return forward


@pytest.mark.parametrize(("dtype", "size", "error"), [
    (torch.float32, 0.0, None),
    (torch.float32, 2.0, Problem),
    (torch.bfloat16, 0.5, None),  # moves a hundredth of the draws
    (torch.bfloat16, 6.0, UnfitFormat),
])  # fmt: skip
@torch.no_grad()
def test_the_verdict_hangs_on_how_many_draws_change(
    load_tiny: Callable[[], Base], dtype: torch.dtype, size: float, error: type[Problem] | None
) -> None:
    base = load_tiny()
    base.model.to(dtype)
    if error is None:
        verify_batching(base, base.model, _noisy(base.model, size))
        return
    with pytest.raises(error) as caught:
        verify_batching(base, base.model, _noisy(base.model, size))
    assert isinstance(caught.value, UnfitFormat) == (error is UnfitFormat)


def test_an_unfit_format_gives_way_to_float32_and_it_is_said(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr("lm.loading.LARGE", 1)
    assert load_serviceable(str(tiny_folder), "cpu").model.dtype == torch.bfloat16
    monkeypatch.setattr("lm.batching.CLOSE", -1.0)
    said: list[str] = []
    assert load_serviceable(str(tiny_folder), "cpu", warn=said.append).model.dtype == torch.float32
    assert len(said) == 1
    assert "bfloat16" in said[0]
    assert "float32" in said[0]
    with pytest.raises(UnfitFormat, match="bfloat16"):  # asked for by name: nothing else takes its place
        load_serviceable(str(tiny_folder), "cpu", "bfloat16")


def test_numbers_that_overflow_are_an_unfit_format(load_tiny: Callable[[], Base]) -> None:
    base = load_tiny()
    with torch.no_grad():
        base.model.get_output_embeddings().weight *= 1e6
    base.model.to(torch.float16)
    with pytest.raises(UnfitFormat, match="float16"):
        Engine(base)


def test_the_probe_reads_whatever_tokenizer_there_is(tiny_base: Base) -> None:
    for base in (tiny_base, load_base("starter", "cpu")):
        with torch.no_grad():
            verify_batching(base, base.model, _noisy(base.model, 0.0))
