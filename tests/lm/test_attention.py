"""A bfloat16 model attends in float32 on a processor, and answers as it would have."""

from __future__ import annotations

import torch

from lm.attention import WIDE
from lm.engine import Engine
from lm.loading import load_base
from lm.settings import EngineSettings, Sampling


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
