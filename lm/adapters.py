"""A version's weights on disk: a LoRA adapter (Hu et al. 2021, arXiv:2106.09685) in PEFT's folder layout.

adapter_config.json         PEFT's description: rank, alpha, target modules
adapter_model.safetensors   the low-rank matrices
ratchet.json                which base they belong to: {"base", "fingerprint"}
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from problems import Problem

if TYPE_CHECKING:
    from lm.loading import Base, BaseText

CONFIG, WEIGHTS, ORIGIN = "adapter_config.json", "adapter_model.safetensors", "ratchet.json"
PREFIX = "base_model.model."  # what PEFT puts before a module's path


@dataclass(frozen=True)
class Adapter:
    """LoRA matrices by module path in the base, e.g. "model.layers.0.self_attn.q_proj".

    A module's weight W [out, in] acts as W + (alpha / rank) B A with A [rank, in] and B [out, rank].
    """

    rank: int
    alpha: float
    weights: dict[str, tuple[Tensor, Tensor]]


def dimensions(module: nn.Module) -> tuple[int, int] | None:
    """(in, out) of a module that an adapter can change; None for any other."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):  # GPT-2 keeps its weights transposed
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return None


def check_adapter(adapter: Adapter, base: Base) -> None:
    """Raise Problem unless every matrix belongs to a module of `base`, has its shape and is finite."""
    if adapter.rank < 1 or not adapter.weights:
        raise Problem("The adapter holds no matrices.", hint="It was written by a training that changed nothing.")
    modules = dict(base.model.named_modules())
    for path, (a, b) in adapter.weights.items():
        size = dimensions(modules[path]) if path in modules else None
        if size is None:
            raise Problem(f"The adapter changes {path}, which {base.id} does not have.", hint="It fits another base.")
        expected = (adapter.rank, size[0]), (size[1], adapter.rank)
        if (tuple(a.shape), tuple(b.shape)) != expected:
            raise Problem(
                f"The adapter's matrices at {path} are {list(a.shape)} and {list(b.shape)}, "
                f"where {base.id} needs {list(expected[0])} and {list(expected[1])}.",
                hint="It fits another base.",
            )
        if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise Problem(f"The adapter holds NaN or infinity at {path}.", hint="Its training diverged; do not use it.")


def read_adapter(folder: Path, base: Base) -> Adapter:
    """Read an adapter made for `base`; tensors on the CPU in the file's own number format.

    Raises:
        Problem: a file is missing or damaged, the adapter belongs to another base, changes a module that the base
            lacks, has a wrong shape, holds NaN or infinity, or uses a kind of LoRA that the engine does not know.
    """
    folder = Path(folder)
    config = _read_json(folder / CONFIG)
    check_origin(folder, base)
    _refuse_unknown_kinds(folder, config)
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise Problem(f"The file {folder / CONFIG} names no rank or alpha.", hint="Write the adapter again.") from error
    try:
        # Read whole, not memory-mapped: a file replaced while it serves must not change what is served.
        tensors = load_tensors((folder / WEIGHTS).read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise Problem(
            f"The file {folder / WEIGHTS} is missing or damaged: {error}",
            hint="Restore it from a backup, or roll back.",
        ) from error
    adapter = Adapter(rank, alpha, _paired(folder, tensors))
    check_adapter(adapter, base)
    return adapter


def check_origin(folder: Path, base: BaseText) -> None:
    """Raises Problem if the adapter in `folder` was made for another base, or does not say for which."""
    origin = _read_json(Path(folder) / ORIGIN)
    if origin.get("fingerprint") != base.fingerprint:
        raise Problem(
            f"The adapter in {folder} was made for {origin.get('base')} ({origin.get('fingerprint')}), "
            f"not for {base.id} ({base.fingerprint}).",
            hint="Start with the model that it was made for.",
        )


def write_adapter(folder: Path, adapter: Adapter, base: Base) -> str:
    """Write `adapter` so that `peft.PeftModel.from_pretrained` loads it, whole or not at all; returns its hash.

    An older adapter in `folder` is replaced.

    Raises:
        Problem: the adapter does not fit `base` (see `check_adapter`).
    """
    check_adapter(adapter, base)
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    modules = dict(base.model.named_modules())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.id,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        # Whole paths, not names: PEFT matches a bare name in every layer, an adapter may hold only some.
        "target_modules": sorted(adapter.weights),
        "fan_in_fan_out": any(isinstance(modules[path], Conv1D) for path in adapter.weights),
        "inference_mode": True,
    }
    tensors = {}
    for path, (a, b) in adapter.weights.items():
        tensors[f"{PREFIX}{path}.lora_A.weight"] = a.detach().cpu().contiguous().clone()
        tensors[f"{PREFIX}{path}.lora_B.weight"] = b.detach().cpu().contiguous().clone()
    files = {
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        ORIGIN: (json.dumps({"base": base.id, "fingerprint": base.fingerprint}, indent=2) + "\n").encode(),
        WEIGHTS: save_tensors(tensors, metadata={"format": "pt"}),
    }
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as room:
        fresh, old = Path(room) / "fresh", Path(room) / "old"
        fresh.mkdir()
        for name, content in files.items():
            with (fresh / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return adapter_hash(folder)


def adapter_hash(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the adapter's matrices as stored. Raises Problem if there are none."""
    path = Path(folder) / WEIGHTS
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise Problem(f"The file {path} cannot be read.", hint="Restore it from a backup, or roll back.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"The file {path} is missing or damaged.", hint="Restore it from a backup.") from error
    if not isinstance(content, dict):
        raise Problem(f"The file {path} is damaged: it holds no JSON object.", hint="Restore it from a backup.")
    return content


def _refuse_unknown_kinds(folder: Path, config: dict[str, Any]) -> None:
    kinds = "use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save"
    unknown = [name for name in kinds if config.get(name)]
    if config.get("peft_type") != "LORA":
        unknown.append("peft_type")
    if config.get("bias", "none") != "none":
        unknown.append("bias")
    if unknown:
        raise Problem(
            f"The adapter in {folder} uses {', '.join(unknown)}, which the engine does not know.",
            hint="Only plain LoRA with one rank and no bias is served.",
        )


def _paired(folder: Path, tensors: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        path, _, half = name.removeprefix(PREFIX).rpartition(".lora_")
        if not name.startswith(PREFIX) or half not in ("A.weight", "B.weight"):
            raise Problem(f"The adapter in {folder} holds {name}, which is no LoRA matrix.", hint="Write it again.")
        halves.setdefault(path, {})[half[0]] = tensor
    for path, pair in halves.items():
        if len(pair) != 2:
            raise Problem(f"The adapter in {folder} holds half a pair at {path}.", hint="Restore it from a backup.")
    return {path: (pair["A"], pair["B"]) for path, pair in halves.items()}
