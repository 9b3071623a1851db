"""The starter's tokenizer: byte-level BPE over generated dialogues, with a chat template that marks what is learned.

Every digit and every Chinese character is a token of its own, so numbers are copied and added digit by digit. The
vocabulary is small, so that names and words fall into pieces that are all met often: rare ones are copied badly.
"""

from __future__ import annotations

import itertools
import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lm.starter.skills import dialogues

PAD, END = "<|pad|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
VOCABULARY = 1280
_DIALOGUES = 20_000
_CHINESE = re.compile("[\u4e00-\u9fff]")

# What people type cannot forge a turn: "<|" becomes "< |" in every turn but the assistant's own.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% elif message['role'] in ['system', 'developer'] %}"
    "<|system|>{{ message['content'] | replace('<|', '< |') }}<|end|>"
    "{% elif message['role'] == 'user' %}"
    "<|user|>{{ message['content'] | replace('<|', '< |') }}<|end|>"
    "{% else %}{{ raise_exception('The roles are system, user and assistant, not ' + message['role'] + '.') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(seed: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `VOCABULARY` tokens, learned from training dialogues of that seed; `context` is its model's."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    specials = [PAD, END, *ROLES.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [
        m["content"] for dialogue in itertools.islice(dialogues("train", seed), _DIALOGUES) for m in dialogue.messages
    ]
    # Often enough that each is merged into one token, however rare it is.
    characters = sorted({character for text in corpus for character in text if _CHINESE.match(character)})
    bpe.train_from_iterator([*corpus, *characters * _DIALOGUES], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES.values()),
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def encode(
    tokenizer: PreTrainedTokenizerFast, conversations: list[list[dict[str, str]]]
) -> list[tuple[list[int], list[bool]]]:
    """Token ids of whole dialogues and, for each, whether it is the assistant's own (and so learned from).

    The same as `apply_chat_template(..., return_assistant_tokens_mask=True)`, an order of magnitude faster: all texts
    are encoded in one call. A test keeps the two equal.
    """
    flat = [
        m["content"] if m["role"] == "assistant" else m["content"].replace("<|", "< |")
        for messages in conversations
        for m in messages
    ]
    encoded = iter(tokenizer(flat, add_special_tokens=False)["input_ids"])
    vocabulary = tokenizer.get_vocab()
    end = vocabulary[END]
    roles = {role: vocabulary[token] for role, token in ROLES.items()}
    rows = []
    for messages in conversations:
        ids: list[int] = []
        learned: list[bool] = []
        for message in messages:
            text = [*next(encoded), end]
            ids += [roles[message["role"]], *text]
            learned += [False] + [message["role"] == "assistant"] * len(text)
        rows.append((ids, learned))
    return rows
