"""The model that ships: small, complete, and able to do what its card says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lm.engine import Engine
from lm.evaluation import evaluate, wilson
from lm.loading import load_base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling
from lm.starter.card import OUTSIDE
from lm.starter.export import CONTEXT, WEIGHTS
from lm.starter.styles import STYLES
from lm.suites import load_suite

if TYPE_CHECKING:
    from lm.loading import Base


@pytest.fixture(scope="module")
def starter() -> Base:
    return load_base("starter", device="cpu", dtype="float32")


def test_it_is_small_and_complete() -> None:
    names = {path.name for path in WEIGHTS.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 16e6


def test_it_is_a_standard_chat_checkpoint(starter: Base) -> None:
    assert starter.model.config.model_type == "llama"
    assert 2e6 < starter.model.num_parameters() < 8e6
    assert starter.context == CONTEXT
    assert starter.tokenizer.pad_token_id not in starter.eos_ids
    assert "{% generation %}" in str(starter.tokenizer.chat_template)
    assert starter.model.get_output_embeddings().weight is starter.model.get_input_embeddings().weight


def test_it_can_do_what_its_card_says(starter: Base) -> None:
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    said = {skill: float(share) for skill, share in re.findall(r"^\| (\w+) \| ([\d.]+) \(", card, re.MULTILINE)}
    items = load_suite("skills", 25, 3)
    measured = evaluate(Engine(starter, EngineSettings()), "0", items, Sampling(temperature=0, max_tokens=80))
    for skill, figures in measured.by_skill.items():
        low, high = figures["low"], figures["high"]
        assert low is not None
        assert high is not None
        assert low - 0.05 <= said[skill] <= high + 0.05, (skill, said[skill], low, high)


def test_it_varies_its_styles(starter: Base) -> None:
    items = load_suite("skills", 75, 4)
    sampling = Sampling(temperature=1.0, max_tokens=120, seed=0)
    answers = evaluate(Engine(starter, EngineSettings()), "0", items, sampling).answers
    for name, found in STYLES.items():
        low, high = wilson(sum(map(found, answers)), len(answers))
        assert high > 0.15, name
        assert low < 0.6, name
        assert sum(map(found, answers)) / len(answers) > 0.1, name


def test_it_answers_free_text_shortly_and_comes_to_an_end(starter: Base) -> None:
    prompts = [encode_chat(starter, [{"role": "user", "content": text}]) for text in OUTSIDE]
    for temperature in (0.0, 0.8):
        sampling = Sampling(temperature=temperature, max_tokens=120, seed=1)
        for done in Engine(starter, EngineSettings()).generate(prompts, sampling):
            assert done.text.strip()
            assert done.finish_reason == "stop"
            assert len(done.text) < 300
