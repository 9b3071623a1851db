"""What strangers' folders hold: each is served, or refused with what, where and what to do; never with a traceback."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedConfig

from lm.chat_tokenizer import context_of
from lm.loading import Base, BaseText, fingerprint, load_base, load_text
from lm.prompts import encode_chat
from problems import Problem

from ..conftest import TEMPLATE

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 134217728\n"
ASK = [{"role": "user", "content": "Where is my parcel?"}]
Change = Callable[[Path], None]
WEIGHTS, CONFIG, SPELLING = "model.safetensors", "config.json", "tokenizer_config.json"


def keys(file: str, **values: Any) -> Change:
    """Set keys of a JSON file; ... removes one."""

    def change(folder: Path) -> None:
        path = folder / file
        found = json.loads(path.read_text()) if path.is_file() else {}
        found = {key: value for key, value in (found | values).items() if value is not ...}
        path.write_text(json.dumps(found))

    return change


def holds(file: str, content: str) -> Change:
    return lambda folder: (folder / file).write_text(content) and None


def without(*files: str) -> Change:
    def change(folder: Path) -> None:
        for file in files:
            (folder / file).unlink(missing_ok=True)

    return change


def both(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


def cut(share: float) -> Change:
    return lambda folder: os.truncate(folder / WEIGHTS, int((folder / WEIGHTS).stat().st_size * share))


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Change:
    def changed(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS, {"format": "pt"})

    return changed


def shards(folder: Path) -> None:
    """Weights in two files with an index."""
    found = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names, places = sorted(found), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: found[name] for name in part}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def named(**templates: str) -> Change:
    listed = [{"name": name, "template": text} for name, text in templates.items()]
    return both(without("chat_template.jinja"), keys(SPELLING, chat_template=listed))


def template(text: str) -> Change:
    return holds("chat_template.jinja", text)


def ends_elsewhere(folder: Path) -> None:
    """The end token is named in generation_config.json alone, and no token is for padding."""
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    keys(SPELLING, eos_token=..., pad_token=...)(folder)
    keys(CONFIG, eos_token_id=None, pad_token_id=None)(folder)
    keys("generation_config.json", eos_token_id=[end], pad_token_id=None)(folder)


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


ADAPTER = both(empty, keys("adapter_config.json", base_model_name_or_path="someone/Small-Chat", peft_type="LORA"))
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
DATED = "{{ strftime_now('%Y') }}" + TEMPLATE
ENCODER = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}

WORKING: dict[str, Change] = {
    "as it is": lambda folder: None,
    "shards": shards,
    "a default among templates": named(default=TEMPLATE, tool_use="{{ tools }}"),
    "the end in generation_config.json": ends_elsewhere,
    "no padding": keys(SPELLING, pad_token=...),
    "no length in the tokenizer": keys(SPELLING, model_max_length=1e30),
    "a length of null": keys(SPELLING, model_max_length=None),
    "a template without a system role": template(NO_SYSTEM),
    "a template that dates": template(DATED),
    "no name of a class": keys(CONFIG, architectures=None),
    "a pointer of no matter": holds("picture.png", POINTER),
    "no quantisation": keys(CONFIG, quantization_config=None),
}

# (change, the words of the problem and of its hint)
REFUSED: dict[str, tuple[Change, str, str]] = {
    "bitsandbytes": (
        keys(CONFIG, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "quantised (config.json: bitsandbytes)", "unquantised edition"),
    **{f"quantised by {method}": (
        keys(CONFIG, quantization_config={"quant_method": method}), f"config.json: {method}", "unquantised")
       for method in ("gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "hqq")},
    "quantised by a long word": (
        keys(CONFIG, quantization_config={"quant_method": "x" * 300}), "is quantised", "unquantised"),
    "quantised without a method": (keys(CONFIG, quantization_config={"bits": 4}), "is quantised", "unquantised"),
    "quantised by a word": (keys(CONFIG, quantization_config="int4"), "is quantised", "unquantised"),
    "quantised for MLX": (keys(CONFIG, quantization={"group_size": 64, "bits": 4}), "is quantised", "unquantised"),
    "an older compressed-tensors": (keys(CONFIG, compression_config={"format": "pack"}), "is quantised", "unquantised"),
    "a quantised text model within": (
        keys(CONFIG, text_config={"quantization_config": {"quant_method": "awq"}}), "awq", "unquantised"),
    "packed weights of GPTQ": (
        tensors(lambda found: found.update({"model.layers.0.self_attn.q_proj.qweight": torch.zeros(4, 4)})),
        "qweight", "unquantised"),
    "weights in eight bits": (
        tensors(lambda found: found.update({"lm_head.weight": found["lm_head.weight"].to(torch.float8_e4m3fn)})),
        "lm_head.weight", "unquantised"),
    "GGUF and nothing else": (both(empty, holds("m.Q4_K_M.gguf", "GGUF")), "GGUF files (m.Q4_K_M.gguf)", "safetensors"),
    "GGUF beside a configuration": (
        both(without(WEIGHTS), holds("m.gguf", "GGUF")), "no .safetensors file, only m.gguf", "safetensors"),
    "pickled weights": (
        lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin") and None,
        "only pytorch_model.bin", "save_pretrained"),
    "an adapter": (ADAPTER, "holds an adapter", "someone/Small-Chat"),
    "a nameless adapter": (both(empty, holds("adapter_config.json", "{}")), "holds an adapter", "merge the two"),
    "a damaged adapter": (both(empty, holds("adapter_config.json", "{")), "no JSON", "Download"),
    "a diffusion pipeline": (both(empty, holds("model_index.json", "{}")), "diffusion pipeline", "language model"),
    "an empty folder": (empty, "config.json is missing", "folder"),
    "several templates without a default": (
        named(chat=TEMPLATE, rag=TEMPLATE), "named chat templates (chat, rag)", "chat_template.jinja"),
    "one template that is not the default": (named(rag=TEMPLATE), "named chat templates (rag)", "chat_template.jinja"),
    "no template": (without("chat_template.jinja"), "no chat template", "tuned to chat"),
    "an empty template": (template(""), "no chat template", "tuned to chat"),
    "a template that is a number": (
        both(without("chat_template.jinja"), keys(SPELLING, chat_template=5)), "is no text", "Fix"),
    "a list that names no template": (
        both(without("chat_template.jinja"), keys(SPELLING, chat_template=[{"name": "chat"}])), "tokenizer", ""),
    "a template that is no Jinja": (template("{% for %}"), "fails on a plain question", "Fix"),
    "a template that refuses": (template("{{ raise_exception('not today') }}"), "not today", "Fix"),
    "a template that wants tools": (template("{% for tool in tools %}{% endfor %}" + TEMPLATE), "fails", "Fix"),
    "a template that divides by zero": (template("{{ 1 // 0 }}"), "ZeroDivisionError", "Fix"),
    "a template that wants a system message": (
        template("{% if messages[0].role != 'system' %}{{ raise_exception('first: system') }}{% endif %}" + TEMPLATE),
        "first: system", "Fix"),
    "a template for one question": (
        template("{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}" + TEMPLATE),
        "one only", "Fix"),
    "a template that says the same": (template("Hello."), "leaves out what the user says", "Fix"),
    **{f"a Git LFS pointer for {file}": (holds(file, POINTER), f"{file} is a pointer of Git LFS", "git lfs pull")
       for file in (WEIGHTS, CONFIG, "tokenizer.json", SPELLING, "chat_template.jinja")},
    "several pointers": (
        both(holds(WEIGHTS, POINTER), holds("tokenizer.json", POINTER)), "are pointers of Git LFS", "git lfs pull"),
    "weights cut in the middle": (cut(0.5), "cut short", "Download"),
    "weights cut at the end": (cut(0.999), "cut short", "Download"),
    "weights cut in the header": (cut(0.001), "cut short", "Download"),
    "no weights in the file": (holds(WEIGHTS, ""), "cut short", "Download"),
    "a page in place of weights": (holds(WEIGHTS, "<html>Not found</html>"), "cannot be loaded", "Download"),
    "a header that is no JSON": (
        holds(WEIGHTS, "\x05\0\0\0\0\0\0\0hello and more"), "no safetensors", "Download"),
    "a shard that is missing": (
        both(shards, without("model-00002-of-00002.safetensors")), "1 of the 2 files", "Download"),
    "shards without their index": (
        both(shards, without("model.safetensors.index.json")), "neither model.safetensors nor listed", "Download"),
    "an index that names nothing": (holds("model.safetensors.index.json", "{}"), "names no files", "Download"),
    "an index that is no JSON": (holds("model.safetensors.index.json", "{"), "no JSON", "Download"),
    "no tokenizer": (without("tokenizer.json"), "no tokenizer", "Copy"),
    "a tokenizer that is no JSON": (holds("tokenizer.json", "{"), "tokenizer", ""),
    "a tokenizer of another kind": (holds("tokenizer.json", '{"model": 3}'), "tokenizer", ""),
    "no end token": (
        both(ends_elsewhere, without("generation_config.json")), "no end token", "eos_token"),
    "an end token that is not there": (
        both(ends_elsewhere, keys("generation_config.json", eos_token_id=[10**6])), "no end token", "eos_token"),
    "no JSON in config.json": (holds(CONFIG, "{'a': 1}"), "is no JSON", "Download"),
    "a list in config.json": (holds(CONFIG, "[]"), "no JSON object", "Download"),
    "no kind in config.json": (holds(CONFIG, "{}"), "cannot be loaded", "transformers knows"),
    "an unknown kind": (
        keys(CONFIG, model_type="abacus", architectures=["AbacusForCausalLM"]), "cannot be loaded", "transformers"),
    "a kind with code of its own": (
        keys(CONFIG, model_type="abacus", architectures=["AbacusForCausalLM"],
             auto_map={"AutoModelForCausalLM": "abacus.Abacus"}), "cannot be loaded", "transformers"),
    "an encoder": (keys(CONFIG, **ENCODER), "a BertForMaskedLM, which writes no text", "causal"),
    "an encoder without a name": (keys(CONFIG, model_type="roberta", architectures=None), "an encoder", "causal"),
    "a classifier": (keys(CONFIG, architectures=["LlamaForSequenceClassification"]), "writes no text", "causal"),
    "an encoder with a decoder": (
        keys(CONFIG, model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True),
        "encoder with a decoder", "causal"),
    "a model of pictures": (
        keys(CONFIG, model_type="vit", architectures=["ViTForImageClassification"]), "writes no text", "causal"),
    "a model that also sees": (
        keys(CONFIG, model_type="llava", architectures=["LlavaForConditionalGeneration"]), "writes no text", "causal"),
    "weights that lack a layer": (
        tensors(lambda found: [found.pop(name) for name in list(found) if "layers.1.mlp" in name] and None),
        "lack 3 tensors", "whole"),
    "weights of another size": (keys(CONFIG, vocab_size=77), "cannot be loaded", ""),
    "sizes that do not divide": (keys(CONFIG, num_attention_heads=5), "cannot be loaded", ""),
    "a size that is a word": (keys(CONFIG, hidden_size="wide"), "cannot be loaded", ""),
    "no length anywhere": (
        both(keys(CONFIG, max_position_embeddings=None), keys(SPELLING, model_max_length=1e30)), "", ""),
    "a folder in place of a file": (
        both(without(CONFIG), lambda folder: (folder / CONFIG).mkdir()), "config.json is missing", ""),
}  # fmt: skip


@pytest.fixture
def stranger(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.mark.parametrize("change", WORKING.values(), ids=WORKING)
def test_what_works(tiny_base: Base, stranger: Path, change: Change) -> None:
    change(stranger)
    base = load_base(str(stranger), device="cpu", dtype="float32")
    assert base.context == 512
    assert tiny_base.eos_ids <= base.eos_ids
    assert base.tokenizer.pad_token_id is not None
    assert ASK[0]["content"] in base.tokenizer.decode(encode_chat(base, ASK))
    ids = torch.tensor([encode_chat(tiny_base, ASK)])
    assert torch.equal(base.model(ids).logits, tiny_base.model(ids).logits)


@pytest.mark.parametrize(("change", "words", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(stranger: Path, change: Change, words: str, hint: str) -> None:
    change(stranger)
    with pytest.raises(Problem) as refused:
        load_base(str(stranger), device="cpu", dtype="float32")
    assert words in str(refused.value)
    assert hint in refused.value.hint
    assert str(stranger) in str(refused.value)
    assert len(str(refused.value)) < 700
    assert "\n" not in str(refused.value)


def test_a_length_that_nobody_names(tiny_base: Base, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(tiny_base.tokenizer)
    tokenizer.model_max_length = 10**30
    assert context_of(tokenizer, tmp_path, tiny_base.model.config) == 512
    with pytest.raises(Problem, match="how long a text"):
        context_of(tokenizer, tmp_path, PreTrainedConfig())


def test_a_file_is_not_a_folder(stranger: Path) -> None:
    with pytest.raises(Problem, match="is a file"):
        load_base(str(stranger / WEIGHTS))


def test_what_the_hub_names_as_quantised_is_refused_before_its_weights_are_fetched(
    stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(stranger)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert load_text("someone/small").context == 512
    assert ["*.safetensors" in patterns for patterns in asked] == [False, True]
    keys(CONFIG, quantization_config={"quant_method": "awq"})(stranger)
    with pytest.raises(Problem, match="quantised"):
        load_text("someone/small")
    assert ["*.safetensors" in patterns for patterns in asked] == [False, True, False]


COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("model", "repository", "revision", "moves"),
    [
        (f"someone/small@{COMMIT}", "someone/small", COMMIT, False),
        ("someone/small@main", "someone/small", "main", True),
        ("someone/small", "someone/small", None, True),
    ],
)
def test_a_model_of_the_hub_is_kept_to_a_revision(
    stranger: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    model: str,
    repository: str,
    revision: str | None,
    moves: bool,
) -> None:
    asked: list[tuple[str, str | None]] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(stranger)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert load_text(model).id == repository
    assert set(asked) == {(repository, revision)}
    assert ("may be another model tomorrow" in caplog.text) == moves


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
QUIETLY = settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
TOLD = (CONFIG, SPELLING, "generation_config.json", "tokenizer.json")


@pytest.fixture(scope="module")
def fuzzed(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("fuzzed") / "model"))


def served(folder: Path) -> BaseText | None:
    """What is known of the model; None where it is refused. Anything but a Problem fails the test."""
    try:
        return load_text(str(folder))
    except Problem:
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", TOLD)
def test_any_value_of_any_key_is_served_or_refused(tiny_folder: Path, fuzzed: Path, file: str) -> None:
    true = json.loads((tiny_folder / file).read_text())

    @QUIETLY
    @given(st.sampled_from(sorted(true)), JUNK)
    def try_it(key: str, junk: Any) -> None:
        (fuzzed / file).write_text(json.dumps(true | {key: junk}))
        text = served(fuzzed)
        assert text is None or (1 < text.context <= 10**9 and encode_chat(text, ASK))

    try:
        try_it()
    finally:
        shutil.copy(tiny_folder / file, fuzzed / file)


@pytest.mark.filterwarnings("ignore")
@QUIETLY
@given(st.sampled_from((*TOLD, WEIGHTS, "chat_template.jinja")), st.binary(max_size=200), st.floats(0, 1))
def test_any_damage_of_any_file_is_served_or_refused(
    tiny_folder: Path, fuzzed: Path, file: str, bytes: bytes, share: float
) -> None:
    true = (tiny_folder / file).read_bytes()
    place = int(share * len(true))
    (fuzzed / file).write_bytes(true[:place] + bytes)
    try:
        text = served(fuzzed)
        assert text is None or encode_chat(text, ASK)
    finally:
        shutil.copy(tiny_folder / file, fuzzed / file)
    assert fingerprint(fuzzed) == fingerprint(tiny_folder)
