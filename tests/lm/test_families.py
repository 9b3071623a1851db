"""Every family answers in the engine as it does on its own: many requests at once, several adapters in one batch."""

from __future__ import annotations

import copy
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    ArceeConfig,
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MinistralConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Olmo3Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)

from lm.adapters import Adapter, dimensions, read_adapter, write_adapter
from lm.engine import BASE, Engine
from lm.loading import Base, load_base
from lm.settings import EngineSettings, Sampling
from lm.stream import Completion

PLAIN: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # wide, so that answers vary and no two tokens tie
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
GATED = PLAIN | {"intermediate_size": 64, "num_key_value_heads": 2}
HEADED = GATED | {"head_dim": 8}
WINDOW = 16  # much less than the longest prompt
GPT2 = {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 64,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "factor": 2.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
FAMILIES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**GATED, attention_bias=True, rope_parameters=LLAMA3_ROPE),
    "qwen3": Qwen3Config(**HEADED, tie_word_embeddings=True),
    "gemma": GemmaConfig(**HEADED),
    "gemma2": Gemma2Config(**HEADED, sliding_window=WINDOW, query_pre_attn_scalar=8, attn_logit_softcapping=5.0),
    "gemma3": Gemma3TextConfig(
        **HEADED, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8
    ),
    "mistral": MistralConfig(**HEADED, sliding_window=WINDOW),
    "phi": PhiConfig(**GATED, partial_rotary_factor=0.5),
    "phi3": Phi3Config(**GATED, sliding_window=WINDOW),
    "phi3-long": Phi3Config(**GATED, original_max_position_embeddings=96, rope_parameters=LONG_ROPE),
    "gpt2": GPT2Config(**GPT2, bos_token_id=0, eos_token_id=1, pad_token_id=0),
}
OTHERS: dict[str, PretrainedConfig] = {
    "arcee": ArceeConfig(**GATED),
    "cohere": CohereConfig(**GATED),
    "cohere2": Cohere2Config(
        **HEADED, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"], logit_scale=1.0
    ),
    "falcon": FalconConfig(**PLAIN),
    "gemma3-image": Gemma3Config(
        text_config=HEADED | {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4, image_token_index=319, boi_token_index=318, eoi_token_index=317,
    ),
    "glm4": Glm4Config(**HEADED),
    "gpt-neox": GPTNeoXConfig(**PLAIN, intermediate_size=64),
    "gpt-oss": GptOssConfig(
        **HEADED, sliding_window=WINDOW, num_local_experts=4, num_experts_per_tok=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    "granite": GraniteConfig(**GATED),
    "ministral": MinistralConfig(**HEADED, sliding_window=WINDOW),
    "mixtral": MixtralConfig(**GATED, num_local_experts=4),
    "olmo2": Olmo2Config(**GATED),
    "olmo3": Olmo3Config(**GATED, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"]),
    "opt": OPTConfig(**PLAIN, ffn_dim=64, word_embed_proj_dim=32),
    "qwen2": Qwen2Config(**GATED),
    "qwen3-moe": Qwen3MoeConfig(**HEADED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32),
    "smollm3": SmolLM3Config(**GATED),
    "stablelm": StableLmConfig(**GATED),
    "starcoder2": Starcoder2Config(**GATED),
}  # fmt: skip
LENGTHS = (1, 4, 15, 17, 40, 66)
NEW = 8
GREEDY = Sampling(temperature=0, max_tokens=NEW, ignore_eos=True)
SETTINGS = EngineSettings(slots=24, context=80, prefill=48)


def made(config: PretrainedConfig, tokenizer: Path, folder: Path) -> Base:
    """A random model of this kind, saved and loaded as any other; its gains and biases are random as well."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, float(parameter.detach().mean()), 0.1)
        if (
            config.get_text_config().tie_word_embeddings
        ):  # else the layers would hardly move what a token already says: itself again
            model.get_input_embeddings().weight.data.mul_(0.4)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / file, folder / file)
    return load_base(str(folder), device="cpu", dtype="float32")


def adapters(base: Base) -> dict[str, Adapter]:
    """Three that differ in rank, scale and the modules they change."""
    paths = [path for path, module in base.model.named_modules() if dimensions(module) and "layers" in path]
    paths = paths or [path for path, module in base.model.named_modules() if dimensions(module) and ".h." in path]
    draws = torch.Generator().manual_seed(5)
    found = {}
    for name, rank, alpha, chosen in (("a", 4, 8.0, paths), ("b", 2, 2.0, paths[::2]), ("c", 8, 4.0, paths[1::3])):
        weights = {}
        for path in chosen:
            size = dimensions(base.model.get_submodule(path))
            assert size is not None
            a, b = torch.randn(rank, size[0], generator=draws), torch.randn(size[1], rank, generator=draws)
            weights[path] = a * 0.3, b * 0.3
        found[name] = Adapter(rank, alpha, weights)
    return found


def prompts(each: int) -> list[list[int]]:
    """`each` prompts of every length, the lengths taking turns."""
    draws = torch.Generator().manual_seed(11)
    return [torch.randint(2, 320, (length,), generator=draws).tolist() for _ in range(each) for length in LENGTHS]


def by_length(asked: list[list[int]]) -> list[list[int]]:
    """Places of the prompts of one length, so that the reference needs no padding."""
    places = defaultdict(list)
    for place, prompt in enumerate(asked):
        places[len(prompt)].append(place)
    return list(places.values())


@torch.inference_mode()
def check(model: Any, asked: list[list[int]], answered: list[Completion]) -> float:
    """Assert that `model` writes the same tokens on its own; the largest difference of a log-probability, in nats."""
    worst = 0.0
    for places in by_length(asked):
        ids = torch.tensor([asked[place] for place in places])
        whole: Tensor = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False
        )
        assert whole[:, ids.shape[1] :].tolist() == [answered[place].token_ids for place in places]
        logits = model(input_ids=whole, use_cache=False).logits[:, ids.shape[1] - 1 : -1].float()
        logp = logits.log_softmax(-1).gather(-1, whole[:, ids.shape[1] :, None])[..., 0]
        best = logits.topk(2, dim=-1).values
        assert float((best[..., 0] - best[..., 1]).min()) > 1e-5, "no two tokens tie"
        worst = max(worst, float((logp - torch.tensor([answered[place].logprobs for place in places])).abs().max()))
    return worst


@pytest.mark.parametrize("family", FAMILIES)
def test_two_hundred_requests_on_four_versions_at_once(family: str, tiny_folder: Path, tmp_path: Path) -> None:
    base = made(FAMILIES[family], tiny_folder, tmp_path / "model")
    reference: Any = None
    engine = Engine(base, SETTINGS)
    assert engine.context == SETTINGS.context, "no window caps the context"
    for name, adapter in adapters(base).items():
        folder = tmp_path / name
        write_adapter(folder, adapter, base)
        engine.install(name, read_adapter(folder, base))
        if reference is None:
            reference = PeftModel.from_pretrained(copy.deepcopy(base.model), str(folder), adapter_name=name)
        else:
            reference.load_adapter(str(folder), adapter_name=name)
    asked = prompts(9)[:50]
    versions = [BASE, "a", "b", "c"]
    streams = [(version, engine.submit(prompt, GREEDY, version)) for prompt in asked for version in versions]
    assert len(streams) == 200
    while engine.step():
        pass
    answers = {name: [stream.completion for version, stream in streams if version == name] for name in versions}
    differing = {tuple(answer.token_ids) for found in answers.values() for answer in found}
    assert len(differing) > 150, "prompts and versions decide the answers"

    with reference.disable_adapter():
        differences = [check(reference, asked, answers[BASE])]
    for name in versions[1:]:
        reference.set_adapter(name)
        differences.append(check(reference, asked, answers[name]))
    assert max(differences) < 1e-4


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_answer_as_on_their_own(family: str, tiny_folder: Path, tmp_path: Path) -> None:
    base = made(OTHERS[family], tiny_folder, tmp_path / "model")
    asked = prompts(2)
    difference = check(base.model, asked, Engine(base, SETTINGS).generate(asked, GREEDY))
    assert difference < 1e-4


def test_the_page_names_every_family() -> None:
    page = (Path(__file__).parents[2] / "docs/models.md").read_text("utf-8")
    assert [name for name in [*FAMILIES, *OTHERS] if f"`{name}`" not in page] == []
