"""A stranger's tokenizer made ready for a chat: one template, an end, padding, and how long a text the model reads.

What is missing is taken from where models also keep it; what cannot be had is refused in plain words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from lm.templates import manner, render
from problems import Problem

LONGEST = 10**9  # tokens; tokenizers that know no length say 10 ** 30
QUESTION, ANSWER = "Zephyrquill", "Thistlemoon"  # which no template has of its own


def make_ready(tokenizer: PreTrainedTokenizerBase, folder: Path, config: PreTrainedConfig) -> None:
    """Give the tokenizer its template, end token and padding, and try the template.

    Raises:
        Problem: no template, several of which none is the default, one that fails; no end token.
    """
    _choose_template(tokenizer, folder)
    if tokenizer.eos_token_id is None:
        _take_end(tokenizer, folder, config)
    if tokenizer.pad_token_id is None:  # rows of a batch need some token at their ends; masks keep it from being read
        tokenizer.pad_token = tokenizer.eos_token
    _try_template(tokenizer, folder)


def context_of(tokenizer: PreTrainedTokenizerBase, folder: Path, config: PreTrainedConfig) -> int:
    """The longest sequence, in tokens, that the model was made for. Problem where nothing says it."""
    named = (getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
    lengths = [int(each) for each in named if isinstance(each, int | float) and 1 < each <= LONGEST]
    if not lengths:
        raise Problem(
            f"Nothing in {folder} says how long a text the model reads.",
            hint="Set model_max_length, in tokens, in tokenizer_config.json.",
        )
    return min(lengths)


def _choose_template(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    template: Any = tokenizer.chat_template
    if not template:
        raise Problem(f"The model in {folder} has no chat template.", hint="Give a model that was tuned to chat.")
    if isinstance(template, dict) and "default" not in template:
        raise Problem(
            f"The model in {folder} has named chat templates ({', '.join(sorted(map(str, template)))}), and none is "
            'named "default".',
            hint="Write the one to use into chat_template.jinja, in that folder.",
        )
    if not isinstance(template["default"] if isinstance(template, dict) else template, str):
        raise Problem(f"The chat template in {folder} is no text.", hint="Fix tokenizer_config.json.")


def _take_end(tokenizer: PreTrainedTokenizerBase, folder: Path, config: PreTrainedConfig) -> None:
    """Take the end token from generation_config.json or config.json."""
    named: list[Any] = []
    file = folder / "generation_config.json"
    if file.is_file():
        try:
            found = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise Problem(f"{file} is no JSON: {error!s:.200}", hint="Download it again.") from error
        named.append(found.get("eos_token_id") if isinstance(found, dict) else None)
    named.append(getattr(config.get_text_config(), "eos_token_id", None))
    for ends in named:
        for end in ends if isinstance(ends, list) else [ends]:
            if isinstance(end, int) and 0 <= end < len(tokenizer):
                tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
                return
    raise Problem(f"The tokenizer in {folder} has no end token.", hint="Set eos_token in tokenizer_config.json.")


def _try_template(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a template that fails on a plain question, on a second one, or leaves out what is asked."""
    question, answer = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
    fix = "Fix chat_template (in chat_template.jinja or tokenizer_config.json), or give another model."
    try:
        parts = manner(tokenizer).parts
        asked = render(tokenizer, [question], parts)
        render(tokenizer, [question, answer, question], parts)
    except TemplateError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Problem(f"The chat template in {folder} fails on a plain question: {reason:.200}", hint=fix) from error
    if QUESTION not in asked:
        raise Problem(f"The chat template in {folder} leaves out what the user says.", hint=fix)
