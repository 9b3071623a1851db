"""On a processor a bfloat16 model answers in float32 and trains by plain products, and computes what it would have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lm.attention import FEW, SHORT, WIDE, attend_shortly
from lm.engine import Engine
from lm.loading import load_base
from lm.settings import EngineSettings, Sampling
from lm.twin import twin


def test_a_narrow_model_is_close_to_its_wide_self() -> None:
    narrow, wide = (load_base("starter", "cpu", dtype) for dtype in ("bfloat16", "float32"))
    prompt = list(range(20, 90))
    sampling = Sampling(temperature=0, max_tokens=12, ignore_eos=True)
    done = Engine(narrow, EngineSettings(slots=2)).generate([prompt], sampling)[0]
    assert narrow.model.config._attn_implementation != WIDE, "the base itself is left as it was"
    ids = torch.tensor([prompt + done.token_ids])
    for base, within in ((narrow, 0.15), (wide, 0.3)):
        logp = base.model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        theirs = logp.gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]
        assert float((theirs - torch.tensor(done.logprobs)).abs().max()) < within


def test_a_wide_model_is_left_alone() -> None:
    engine = Engine(load_base("starter", "cpu", "float32"), EngineSettings(slots=2))
    assert engine._slots._model.config._attn_implementation == "sdpa"
    assert engine._slots._cache.dtype is None


@pytest.mark.parametrize("tokens", [7, FEW + 1])
def test_short_rows_by_plain_products_are_what_torchs_kernel_gives(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, tokens, 8, generator=generator) for heads in (4, 2, 2))
    mask = torch.full((tokens, tokens), float("-inf")).triu(1).expand(2, 1, tokens, tokens).clone()
    mask[1, :, 3:, 0] = float("-inf")  # a row that may not look at its first token
    module = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    given = {"scaling": 0.3, "dropout": 0.0}
    ours, _ = ALL_ATTENTION_FUNCTIONS[SHORT](module, query, key, value, mask, **given)
    theirs, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **given)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_only_models_in_bfloat16_on_the_cpu_attend_shortly(tiny_folder: Path) -> None:
    ids = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]])
    reads = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    for dtype, name in (("bfloat16", SHORT), ("float32", "sdpa")):
        model = twin(load_base(str(tiny_folder), "cpu", dtype).model)
        before = model(ids, attention_mask=reads).logits.float()
        attend_shortly(model)
        assert model.config._attn_implementation == name
        after = model(ids, attention_mask=reads).logits.float()
        torch.testing.assert_close(after[reads == 1], before[reads == 1], rtol=0, atol=0.1 if name == SHORT else 0.0)
