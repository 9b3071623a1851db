"""Loading a base: frozen, fingerprinted, and refused in plain words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lm.loading import Base, fingerprint, load_base, load_text
from problems import Problem


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model"))


def test_loaded_frozen_in_evaluation_mode(tiny_base: Base) -> None:
    assert not tiny_base.model.training
    assert not any(parameter.requires_grad for parameter in tiny_base.model.parameters())
    assert {parameter.dtype for parameter in tiny_base.model.parameters()} == {torch.float32}
    assert tiny_base.eos_ids == {tiny_base.tokenizer.eos_token_id}
    assert tiny_base.context == 512


def test_dtype_by_name(tiny_folder: Path) -> None:
    base = load_base(str(tiny_folder), device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_fingerprint_follows_every_file_that_matters(tiny_folder: Path, tmp_path: Path, file: str) -> None:
    folder = copy(tiny_folder, tmp_path)
    assert fingerprint(folder) == fingerprint(tiny_folder)
    with (folder / file).open("ab") as opened:
        opened.write(b" ")
    assert fingerprint(folder) != fingerprint(tiny_folder)


def test_generation_defaults_do_not_change_the_fingerprint(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path)
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.1}))
    assert fingerprint(folder) == fingerprint(tiny_folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no folder"):
        load_base(str(tmp_path / "nowhere"))


def test_folder_without_model(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"config\.json is missing"):
        load_base(str(tmp_path))


def test_pickled_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Problem, match=r"no \.safetensors"):
        load_base(str(folder))


def test_damaged_weights(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path)
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(Problem, match="cannot be loaded"):
        load_base(str(folder))


def test_model_without_chat_template(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Problem, match="no chat template"):
        load_base(str(folder))


@pytest.mark.parametrize(("device", "dtype"), [("abacus", "auto"), ("cpu", "int3")])
def test_unknown_device_or_number_format(tiny_folder: Path, device: str, dtype: str) -> None:
    with pytest.raises(Problem, match="no "):
        load_base(str(tiny_folder), device=device, dtype=dtype)


def test_the_text_of_a_base_is_the_base_without_its_model(
    tiny_base: Base, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm.loading.AutoModelForCausalLM", None)  # whoever loads weights fails
    text = load_text(str(tiny_folder))
    assert (text.id, text.fingerprint, text.context) == (tiny_base.id, tiny_base.fingerprint, tiny_base.context)
    assert text.tokenizer.encode("Where is my parcel?") == tiny_base.tokenizer.encode("Where is my parcel?")


def test_the_text_of_a_base_is_refused_as_the_base_is(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Problem, match="no chat template"):
        load_text(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(Problem, match=r"no \.safetensors"):
        load_text(str(folder))


@pytest.mark.parametrize(("native", "large", "dtype", "expected"), [
    (True, True, "auto", torch.bfloat16),
    (False, True, "auto", torch.float32),
    (True, False, "auto", torch.float32),
    (True, True, "float32", torch.float32),
])  # fmt: skip
def test_a_large_model_runs_in_the_processors_short_numbers(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, native: bool, large: bool, dtype: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": native})
    monkeypatch.setattr("lm.loading.LARGE", 1 if large else 1 << 40)
    assert load_base(str(tiny_folder), "cpu", dtype).model.dtype == expected
