"""What a stranger's folder holds instead of a model that can be served, told before anything of it is loaded.

Knows file names, the beginning of safetensors files and the keys of config.json; loads no weights and no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from problems import Problem

POINTER = b"version https://git-lfs.github.com/spec/"
LONGEST_POINTER = 1024  # bytes, by Git LFS's specification
INDEX = "model.safetensors.index.json"
READ = (".json", ".jinja", ".model", ".safetensors", ".txt")  # the files that a model is made of
OTHER_WEIGHTS = (".bin", ".gguf", ".h5", ".msgpack", ".pt", ".pth")
UNQUANTISED = "Give the model's unquantised edition in safetensors (bfloat16, float16 or float32)."
# Ends of the names that tensors have in quantised files: GPTQ and AWQ; compressed-tensors; fp8; bitsandbytes.
PACKED = (".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".absmax", ".quant_map")
NARROW = ("F8_", "F6_", "F4")  # beginnings of the names of number formats that only quantised files have


def not_a_model(folder: Path) -> Problem:
    """What to say of a folder without config.json."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = _object(adapter).get("base_model_name_or_path")
        return Problem(
            f"The folder {folder} holds an adapter and no model: config.json is missing.",
            hint=f"Give the model that it was trained on ({base!s:.200}), or merge the two and save the result."
            if base
            else "Give the model that it was trained on, or merge the two and save the result.",
        )
    gguf = _some(folder.glob("*.gguf"))
    if gguf:
        return Problem(f"The folder {folder} holds GGUF files ({gguf}), which are not served.", hint=UNQUANTISED)
    if (folder / "model_index.json").is_file():
        return Problem(f"The folder {folder} holds a diffusion pipeline, not a language model.", hint=_GIVE)
    return Problem(f"The folder {folder} holds no model: config.json is missing.", hint="Give a model's folder.")


def check_model_files(folder: Path) -> None:
    """Refuse what cannot be served.

    Raises:
        Problem: pointers of Git LFS in place of files; a config.json that is no JSON object, or of a quantised model
            or of one that writes no text; weights that are missing, cut short, quantised or in another format; no
            tokenizer.
    """
    pointers = [path for path in sorted(folder.iterdir()) if _is_pointer(path)]
    if pointers:
        raise Problem(
            f"In {folder} {_some(pointers)} {'are pointers' if len(pointers) > 1 else 'is a pointer'} of Git LFS, not "
            "what the name says.",
            hint="Download it with `git lfs pull` in that folder.",
        )
    check_config(folder)
    _check_weights(folder)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "vocab.txt")) and not any(
        folder.glob("*.model")
    ):
        raise Problem(f"The model in {folder} has no tokenizer: tokenizer.json is missing.", hint="Copy it there.")


def check_config(folder: Path) -> None:
    """Refuse by what config.json says, before the weights are there. Problem as `check_model_files`."""
    config = _object(folder / "config.json")
    inner = config.get("text_config")
    for each in (config, inner if isinstance(inner, dict) else {}):
        quantised = each.get("quantization_config") or each.get("compression_config") or each.get("quantization")
        if quantised:
            method = quantised.get("quant_method") if isinstance(quantised, dict) else None
            raise _quantised(folder, f"config.json: {method!s:.40}" if method else "config.json")
    if config.get("is_encoder_decoder") is True:
        raise Problem(f"The model in {folder} is an encoder with a decoder, which is not served.", hint=_GIVE)
    names = config.get("architectures")
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if names and not any(map(_writes, names)):
        raise Problem(f"The model in {folder} is a {names[0]:.80}, which writes no text.", hint=_GIVE)
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder"):
        raise Problem(f"The model in {folder} is an encoder ({kind}), which writes no text.", hint=_GIVE)


_GIVE = "Give a causal language model that was tuned to chat."


def _writes(architecture: str) -> bool:
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return architecture.endswith(("ForCausalLM", "LMHeadModel")) or architecture in known


def _quantised(folder: Path, where: str) -> Problem:
    return Problem(f"The model in {folder} is quantised ({where}); such weights are not served.", hint=UNQUANTISED)


def _check_weights(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = _some(path for path in sorted(folder.iterdir()) if path.suffix in OTHER_WEIGHTS)
        raise Problem(
            f"The model in {folder} holds no .safetensors file{f', only {others}' if others else ''}.",
            hint="Only safetensors weights are loaded: save the model again with save_pretrained.",
        )
    if (folder / INDEX).is_file():
        places = _object(folder / INDEX).get("weight_map")
        wanted = set(places.values()) if isinstance(places, dict) else set()
        if not wanted or not all(isinstance(name, str) for name in wanted):
            raise Problem(f"{INDEX} in {folder} names no files of weights.", hint="Download the model again.")
        missing = sorted(name for name in wanted if not (folder / name).is_file())
        if missing:
            raise Problem(
                f"Weights are missing in {folder}: {len(missing)} of the {len(wanted)} files that {INDEX} names "
                f"({_some(map(Path, missing))}).",
                hint="Download the model again.",
            )
    elif not (folder / "model.safetensors").is_file():
        raise Problem(
            f"The weights in {folder} ({_some(files)}) are neither model.safetensors nor listed in {INDEX}.",
            hint="Download the model again, or save it again with save_pretrained.",
        )
    for file in files:
        _check_tensors(folder, file)


def _check_tensors(folder: Path, file: Path) -> None:
    """Refuse a safetensors file by its header: 8 bytes of length, then as much JSON of names, formats and offsets."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if 8 + length <= size else b""
    end, tensors = 8 + length, []
    if header:
        try:
            told = {name: each for name, each in json.loads(header).items() if name != "__metadata__"}
            tensors = [(name, str(each["dtype"])) for name, each in told.items()]
            end += max((int(each["data_offsets"][1]) for each in told.values()), default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise Problem(
                f"The weights cannot be loaded: {file.name} in {folder} is no safetensors file.",
                hint="Download it again.",
            ) from error
    if end > size or not header:
        raise Problem(
            f"The weights cannot be loaded: {file.name} in {folder} ({size:,} bytes) is cut short or no safetensors.",
            hint="Download it again.",
        )
    packed = next((name for name, dtype in tensors if name.endswith(PACKED) or dtype.startswith(NARROW)), None)
    if packed is not None:
        raise _quantised(folder, f"{file.name}: {packed:.80}")


def _is_pointer(path: Path) -> bool:
    if path.suffix not in READ or not path.is_file() or path.stat().st_size > LONGEST_POINTER:
        return False
    with path.open("rb") as opened:
        return opened.read(len(POINTER)) == POINTER


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Problem where it holds something else."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Problem(f"{file} is no JSON: {error!s:.200}", hint="Download it again.") from error
    if not isinstance(found, dict):
        raise Problem(f"{file} holds no JSON object.", hint="Download it again.")
    return found


def _some(files: Iterable[Path]) -> str:
    names = [path.name for path in files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
