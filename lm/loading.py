"""Load a base model once, frozen: the shipped starter, a folder, or a model of the hub."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lm.chat_tokenizer import context_of, make_ready
from lm.model_files import check_config, check_model_files, not_a_model
from lm.templates import manner
from problems import Problem

log = logging.getLogger(__name__)

COMMIT = re.compile("[0-9a-f]{40}")
STARTER = Path(__file__).parent / "starter" / "weights"

# What a model's answers depend on; generation_config.json is left out because requests carry their own sampling.
FINGERPRINTED = (
    *("config.json", "*.safetensors"),
    *("tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.jinja"),
)
LARGE = (
    100_000_000  # bytes of weights; measured: bfloat16 gains 1.5 times and more at 90 million parameters, nothing at 7
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class BaseText:
    """What is known of a base without its weights in memory: enough to spell prompts and read answers.

    `fingerprint` changes when the configuration, the weights or the tokenizer change; `context` is the longest
    sequence, in tokens, that the model was made for.
    """

    id: str
    fingerprint: str
    tokenizer: PreTrainedTokenizerBase
    context: int


@dataclass(frozen=True, kw_only=True)
class Base(BaseText):
    """A frozen causal language model with its tokenizer."""

    model: PreTrainedModel

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends an answer: the generation configuration's, the tokenizer's and the chat template's."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        ends = list(configured) if isinstance(configured, list | tuple) else [configured]
        ends += [self.tokenizer.eos_token_id, manner(self.tokenizer).end]
        return frozenset(int(end) for end in ends if end is not None)

    @property
    def device(self) -> torch.device:
        return self.model.device


def load_base(name: str = "starter", device: str = "auto", dtype: str = "auto") -> Base:
    """Load `name` in evaluation mode with gradients off.

    Args:
        name: "starter", a folder, or an id of the hub, with `@` and a revision after it to keep to one (its files are
            fetched unless already on this machine).
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU that has it and, for a large model, on a
            CPU that multiplies it; float32 elsewhere.

    Raises:
        Problem: the model is missing, quantised, damaged or writes no text, holds no safetensors, has no chat template
            or one that fails, or needs code of its own.
    """
    folder = _folder(name)
    where = _device(device)
    what = _dtype(dtype, where, folder)
    tokenizer = _tokenizer(folder)
    with _loading(folder, "model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, dtype=what, output_loading_info=True
        )
    model: PreTrainedModel = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:
        raise Problem(
            f"The weights in {folder} lack {len(missing)} tensors that config.json asks for, {missing[0]} among them.",
            hint="Give a causal language model whose weights are whole.",
        )
    model.to(where)  # type: ignore[arg-type]
    model.eval().requires_grad_(False)
    text = _text(name, folder, tokenizer, model.config)
    return Base(id=text.id, fingerprint=text.fingerprint, tokenizer=text.tokenizer, context=text.context, model=model)


def load_text(name: str = "starter") -> BaseText:
    """What `load_base` says of `name`, without its weights in memory; they are read once, for the fingerprint.

    Raises:
        Problem: as `load_base`, except for weights that are damaged within or lack tensors.
    """
    folder = _folder(name)
    tokenizer = _tokenizer(folder)
    with _loading(folder, "configuration"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return _text(name, folder, tokenizer, config)


@contextmanager
def _loading(folder: Path, what: str) -> Iterator[None]:
    """What goes wrong while files of a model are read, in plain words."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # strangers' files: tokenizers raises bare Exceptions, configurations whatever they meet
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Problem(
            f"The {what} in {folder} cannot be loaded: {reason}",
            hint="Give a causal language model that this edition of transformers knows, with its tokenizer.",
        ) from error


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder whose files have been looked at."""
    with _loading(folder, "model"):
        check_model_files(folder)
    with _loading(folder, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return tokenizer


def _text(name: str, folder: Path, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> BaseText:
    with _loading(folder, "tokenizer"):
        make_ready(tokenizer, folder, config)
    return BaseText(
        # Without the revision: what the files hold is in the fingerprint.
        id=folder.resolve().name if Path(name).is_dir() else name.partition("@")[0],
        fingerprint=fingerprint(folder),
        tokenizer=tokenizer,
        context=context_of(tokenizer, folder, config),
    )


def fingerprint(folder: Path) -> str:
    """First 16 hex digits of a SHA-256 over the files that decide what a model answers."""
    digest = hashlib.sha256()
    files = {path for pattern in FINGERPRINTED for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(files, key=lambda path: path.name):
        # Name and length frame each file, so that no two different sets of files read as one stream of bytes.
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _folder(name: str) -> Path:
    if name == "starter":
        if not (STARTER / "config.json").is_file():
            raise Problem(f"The starter model is missing from {STARTER}.", hint="Reinstall Ratchet, or give --model.")
        return STARTER
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise not_a_model(folder)
        return folder
    if folder.is_file():
        raise Problem(f"{folder} is a file.", hint="Give the folder that holds a model in safetensors.")
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise Problem(f"There is no folder {folder}.", hint="Give 'starter', a model's folder or an id of the hub.")
    repository, _, revision = name.partition("@")
    return _snapshot(repository, revision or None)


def _snapshot(name: str, revision: str | None) -> Path:
    """The files of a model of the hub, at a revision: a commit, a tag or a branch; None: its newest.

    A commit is the same for ever; anything else is whatever its owner makes of it, which is said.
    """
    if revision is None or not COMMIT.fullmatch(revision):
        log.warning(
            "%s is taken from the hub as it is now, and may be another model tomorrow; name a commit to keep it: "
            "--model %s@COMMIT",
            name if revision is None else f"{name}@{revision}",
            name,
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*FINGERPRINTED, "*.json", "*.model"]
    small: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": [pattern for pattern in wanted if pattern != "*.safetensors"],
    }
    try:
        folder = Path(snapshot_download(name, **small))
        if (folder / "config.json").is_file():
            check_config(folder)  # before gigabytes are fetched that cannot be served
        else:
            raise not_a_model(folder)
        return Path(snapshot_download(name, **(small | {"allow_patterns": wanted})))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise Problem(
            f"The model {name!r} is neither a folder here nor to be had from the hub"
            + (f" at {revision!r}." if revision else "."),
            hint="Check the name, its revision and the network, or give 'starter' or a folder.",
        ) from error


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise Problem(f"There is no device {device!r}.", hint="Give auto, cpu or cuda.") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise Problem(f"The device {device!r} was asked for, but torch sees no GPU.", hint="Give cpu or auto.")
    return where


def _dtype(dtype: str, device: torch.device, folder: Path) -> torch.dtype:
    if dtype == "auto":
        bfloat = torch.cuda.is_bf16_supported() if device.type == "cuda" else _quicker_narrow(folder)
        return torch.bfloat16 if bfloat else torch.float32
    if dtype not in DTYPES:
        raise Problem(f"There is no number format {dtype!r}.", hint=f"Give auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _quicker_narrow(folder: Path) -> bool:
    """Whether this processor multiplies bfloat16 itself and the model is large enough to be bound by its weights."""
    processor = torch.cpu.get_capabilities()
    native = any(processor.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return native and sum(path.stat().st_size for path in folder.glob("*.safetensors")) >= LARGE
