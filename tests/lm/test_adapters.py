"""Adapters on disk: PEFT reads what is written; what is damaged or foreign is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm.adapters import CONFIG, ORIGIN, WEIGHTS, Adapter, adapter_hash, check_adapter, read_adapter, write_adapter
from lm.loading import Base
from problems import Problem

QUERY = "model.layers.0.self_attn.q_proj"


MakeAdapter = Callable[..., Adapter]


@pytest.fixture
def written(tiny_base: Base, make_adapter: MakeAdapter, tmp_path: Path) -> Path:
    write_adapter(tmp_path / "adapter", make_adapter(), tiny_base)
    return tmp_path / "adapter"


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_round_trip(tiny_base: Base, make_adapter: MakeAdapter, written: Path) -> None:
    before, after = make_adapter(), read_adapter(written, tiny_base)
    assert (after.rank, after.alpha) == (before.rank, before.alpha)
    assert after.weights.keys() == before.weights.keys()
    for path, (a, b) in before.weights.items():
        torch.testing.assert_close(after.weights[path], (a, b), rtol=0, atol=0)


def test_hash_follows_the_matrices_alone(tiny_base: Base, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    first = write_adapter(tmp_path / "a", make_adapter(), tiny_base)
    assert first == write_adapter(tmp_path / "b", make_adapter(), tiny_base) == adapter_hash(tmp_path / "a")
    assert first != write_adapter(tmp_path / "c", make_adapter(seed=1), tiny_base)


def test_writing_again_replaces_and_leaves_nothing_behind(
    tiny_base: Base, make_adapter: MakeAdapter, written: Path
) -> None:
    fresh = write_adapter(written, make_adapter(seed=2), tiny_base)
    assert adapter_hash(written) == fresh
    assert [path.name for path in written.parent.iterdir()] == ["adapter"]


def test_peft_loads_it_and_computes_the_same(load_tiny: Callable[[], Base], written: Path) -> None:
    from peft import PeftModel

    base = load_tiny()
    adapter = read_adapter(written, base)
    ids = torch.tensor([[7, 8, 9, 30]])
    merged = load_tiny().model
    for path, (a, b) in adapter.weights.items():
        merged.get_parameter(f"{path}.weight").data += adapter.alpha / adapter.rank * b @ a
    with torch.no_grad():
        expected = merged(ids).logits
        wrapped = PeftModel.from_pretrained(base.model, written)
        torch.testing.assert_close(wrapped(ids).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS, ORIGIN])
def test_missing_file(tiny_base: Base, written: Path, file: str) -> None:
    (written / file).unlink()
    with pytest.raises(Problem, match="missing"):
        read_adapter(written, tiny_base)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS, ORIGIN])
def test_truncated_file(tiny_base: Base, written: Path, file: str) -> None:
    content = (written / file).read_bytes()
    (written / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(Problem, match="damaged"):
        read_adapter(written, tiny_base)


def test_other_base(tiny_base: Base, written: Path) -> None:
    (written / ORIGIN).write_text(json.dumps({"base": "other", "fingerprint": "0" * 16}))
    with pytest.raises(Problem, match="made for other"):
        read_adapter(written, tiny_base)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_matrices_that_are_not_finite(tiny_base: Base, written: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"base_model.model.{QUERY}.lora_B.weight"][3, 1] = value

    rewrite(written, spoil)
    with pytest.raises(Problem, match="NaN or infinity"):
        read_adapter(written, tiny_base)


def test_wrong_shape(tiny_base: Base, written: Path) -> None:
    def widen(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"base_model.model.{QUERY}.lora_A.weight"] = torch.zeros(4, 33)

    rewrite(written, widen)
    with pytest.raises(Problem, match="needs"):
        read_adapter(written, tiny_base)


def test_unknown_module(tiny_base: Base, written: Path) -> None:
    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for half in "AB":
            name = f"base_model.model.{QUERY}.lora_{half}.weight"
            tensors[name.replace("layers.0", "layers.9")] = tensors.pop(name)

    rewrite(written, rename)
    with pytest.raises(Problem, match=r"layers\.9"):
        read_adapter(written, tiny_base)


def test_half_a_pair(tiny_base: Base, written: Path) -> None:
    def halve(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[f"base_model.model.{QUERY}.lora_A.weight"]

    rewrite(written, halve)
    with pytest.raises(Problem, match="half a pair"):
        read_adapter(written, tiny_base)


@pytest.mark.parametrize("change", [{"use_dora": True}, {"use_rslora": True}, {"bias": "all"}, {"peft_type": "LOHA"}])
def test_kinds_the_engine_does_not_know(tiny_base: Base, written: Path, change: dict[str, object]) -> None:
    config = json.loads((written / CONFIG).read_text())
    (written / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(Problem, match=next(iter(change))):
        read_adapter(written, tiny_base)


def test_nothing_is_written_of_a_bad_adapter(tiny_base: Base, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    adapter = make_adapter()
    adapter.weights[QUERY][0][0, 0] = float("nan")
    with pytest.raises(Problem):
        write_adapter(tmp_path / "adapter", adapter, tiny_base)
    assert list(tmp_path.iterdir()) == []


def test_adapter_of_another_kind_of_module(tiny_base: Base) -> None:
    norm = Adapter(4, 8.0, {"model.norm": (torch.zeros(4, 32), torch.zeros(32, 4))})
    with pytest.raises(Problem, match=r"model\.norm"):
        check_adapter(norm, tiny_base)
