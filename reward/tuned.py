"""A trunk tuned to judge: the base's weights, shared, with a LoRA adapter and a score of its own.

It is kept as a PEFT folder that stock transformers loads as a sequence classifier with one label:

adapter_config.json         PEFT's description; its base_model_name_or_path is the base's folder
adapter_model.safetensors   the low-rank matrices and the score's weight
ratchet.json                base, fingerprint, and the context in tokens
tokenizer.json, ...         the base's tokenizer and chat template
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from lm.adapters import CONFIG, ORIGIN, PREFIX, WEIGHTS, check_origin
from lm.loading import Base
from lm.prompts import Message
from lm.twin import twin
from problems import Problem
from reward.features import encode_pair, token_batches

SCORE = "score"  # transformers' name of the linear layer that a sequence classifier ends in
SCORE_WEIGHT = f"{PREFIX}{SCORE}.weight"


@dataclass(frozen=True, eq=False)
class TunedTrunk:
    """A trunk that was tuned on ratings, and the direction in its last state that they were found along.

    Of its own it holds the adapter's matrices and the score; all other weights are the base's, in the same memory.

    Attributes:
        base: whose weights are shared; it carries no adapter because of this.
        model: the sequence classifier.
        score_weight: [H] float32 on the CPU; a reward is `features @ score_weight`.
        context: tokens of prompt and answer together that are read.
    """

    base: Base
    model: PeftModel
    score_weight: Tensor
    context: int
    regime: str = "lora"

    @torch.inference_mode()
    def features(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        progress: Callable[[int], None] | None = None,
        batch_tokens: int = 8192,
    ) -> tuple[Tensor, Tensor]:
        """Last states of N answers, each read to its end-of-sequence token, and how many tokens each has.

        Args:
            prompts: N conversations, each ending in the turn that is answered.
            answers: N texts.
            progress: called with the number of finished rows.
            batch_tokens: padded tokens a forward pass, bounds memory.

        Returns:
            float32 [N, H] and [N], on the CPU.
        """
        encoded = [encode_pair(self.base, p, a, self.context) for p, a in zip(prompts, answers, strict=True)]
        trunk = self.model.get_base_model().base_model
        pad, device = pad_token(self.base.tokenizer), self.base.device
        states = torch.zeros(len(encoded), len(self.score_weight))
        tokens = torch.tensor([float(len(ids) - start) for ids, start in encoded])
        done = 0
        for rows in token_batches([len(ids) for ids, _ in encoded], batch_tokens):
            ids, mask = padded([encoded[row][0] for row in rows], pad)
            read = trunk(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).last_hidden_state
            last = (mask.sum(1) - 1).to(device)
            states[rows] = read[torch.arange(len(rows), device=device), last].float().cpu()
            done += len(rows)
            if progress:
                progress(done)
        return states, tokens

    def save(self, folder: Path, score_weight: Tensor) -> None:
        """Write the PEFT folder, with [H] `score_weight` as the score.

        `AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)` loads it while the base's folder is
        where it was; else write the new place into adapter_config.json.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        tensors[SCORE_WEIGHT] = score_weight[None]
        config = copy.deepcopy(self.model.peft_config["default"])
        config.base_model_name_or_path = self.base.model.name_or_path
        config.target_modules, config.modules_to_save = sorted(config.target_modules), [SCORE]
        config.inference_mode = True
        config.save_pretrained(str(folder))
        plain = {name: each.detach().float().cpu().contiguous() for name, each in tensors.items()}
        (folder / WEIGHTS).write_bytes(save_tensors(plain, metadata={"format": "pt"}))
        facts = {"base": self.base.id, "fingerprint": self.base.fingerprint, "context": self.context}
        (folder / ORIGIN).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        padding_tokenizer(self.base.tokenizer).save_pretrained(str(folder))


def load_tuned(folder: Path, base: Base) -> TunedTrunk:
    """Read what `TunedTrunk.save` wrote, onto the base that it was tuned from; the base's weights are shared.

    Raises:
        Problem: a file is missing or damaged, or the trunk belongs to another base.
    """
    check_origin(folder, base)
    try:
        context = int(json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["context"])
        facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config = LoraConfig(
            task_type="SEQ_CLS",
            r=int(facts["r"]),
            lora_alpha=float(facts["lora_alpha"]),
            target_modules=facts["target_modules"],
            fan_in_fan_out=bool(facts["fan_in_fan_out"]),
            modules_to_save=[SCORE],
        )
        tensors = load_tensors((folder / WEIGHTS).read_bytes())
        model = adapted(base, config, seed=0)
        unknown = set_peft_model_state_dict(model, tensors).unexpected_keys
        wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise Problem(f"The tuned trunk in {folder} is missing or damaged: {error}", hint="Fit a new one.") from error
    if unknown or wanted != set(tensors) or not all(bool(each.isfinite().all()) for each in tensors.values()):
        raise Problem(f"The tuned trunk in {folder} is damaged: its matrices are not whole.", hint="Fit a new one.")
    return TunedTrunk(base, model.eval().requires_grad_(False), tensors[SCORE_WEIGHT][0], context)


def adapted(base: Base, config: LoraConfig, seed: int) -> PeftModel:
    """A classifier on the base's own weights with an adapter that changes nothing yet, random from a seed."""
    model = _classifier(base)
    with torch.random.fork_rng(), warnings.catch_warnings():
        # A LoRA on transposed weights (GPT-2) is told so by PEFT itself, in a warning.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        torch.manual_seed(seed)
        return cast(PeftModel, get_peft_model(model, config))


def _classifier(base: Base) -> PreTrainedModel:
    """The base's family's sequence classifier with one label, zero, around a twin of the base's trunk.

    Raises:
        Problem: the family has no such class that ends in a plain linear score.
    """
    twinned = twin(base.model)
    config: Any = twinned.config
    config.num_labels = 1
    config.get_text_config().pad_token_id = pad_token(base.tokenizer)
    try:
        with torch.device("meta"):  # the shape of it; the weights are the base's
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise _unfit(base) from error
    trunk, score = twinned.base_model, getattr(model, SCORE, None)
    if not isinstance(score, nn.Linear) or score.bias is not None or type(model.base_model) is not type(trunk):
        raise _unfit(base)
    setattr(model, model.base_model_prefix, trunk)
    own = nn.Linear(score.in_features, 1, bias=False, device=base.device)
    nn.init.zeros_(own.weight)
    setattr(model, SCORE, own)
    return cast(PreTrainedModel, model.eval())


def _unfit(base: Base) -> Problem:
    return Problem(
        f"Models of the kind {type(base.model).__name__} have no sequence classifier that a reward could be read from.",
        hint='Set reward.regime to "heads", which fits any model.',
    )


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """A special token to pad with that is not the one that ends answers: classifiers read the last that is no padding.

    Raises:
        Problem: the tokenizer has none.
    """
    for token in (tokenizer.pad_token_id, *sorted(tokenizer.added_tokens_decoder)):
        if token is not None and token != tokenizer.eos_token_id:
            return int(token)
    raise Problem(
        "The tokenizer has no special token besides its end token.",
        hint="Give it a pad token in tokenizer_config.json.",
    )


def padding_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that pads with `pad_token`, on the right."""
    own = copy.deepcopy(tokenizer)
    own.pad_token = own.convert_ids_to_tokens(pad_token(tokenizer))
    own.padding_side = "right"
    return own


def padded(sequences: Sequence[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of sequences padded on the right: [N, L] each."""
    longest = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), longest), pad)
    mask = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids, mask
