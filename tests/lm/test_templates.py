"""Chat templates of real models, as TRL ships them: every text arrives, and the end of a turn is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.resources import files
from types import SimpleNamespace

import pytest
from transformers import PreTrainedTokenizerBase

from lm.loading import Base
from lm.prompts import encode_chat, fit_chat
from lm.templates import Manner, arranged, manner, render
from problems import Problem

FOLDER = files("trl").joinpath("chat_templates")
NAMES = sorted(file.name.removesuffix(".jinja") for file in FOLDER.iterdir() if file.name.endswith(".jinja"))
# The oldest Mistral instruct template's ways: turns take turns, and a system message is passed over in silence.
SILENT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% elif message.role == 'assistant' %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is my parcel?"},
    {"role": "user", "content": "It left on Monday."},
    {"role": "assistant", "content": "It arrives on Thursday."},
    {"role": "system", "content": "The person is in a hurry."},
    {"role": "user", "content": "And where is it now?"},
]
MakeTokenizer = Callable[..., PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def with_template(tiny_base: Base) -> MakeTokenizer:
    def make(template: str, *specials: str) -> PreTrainedTokenizerBase:
        tokenizer = copy.deepcopy(tiny_base.tokenizer)
        tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
        tokenizer.add_tokens(list(specials), special_tokens=True)
        tokenizer.chat_template = (
            FOLDER.joinpath(f"{template}.jinja").read_text("utf-8") if template in NAMES else template
        )
        return tokenizer

    return make


def said(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], limit: int | None = None) -> str:
    base = SimpleNamespace(tokenizer=tokenizer)
    ids = encode_chat(base, messages) if limit is None else fit_chat(base, messages, limit)
    assert ids.count(tokenizer.bos_token_id) <= 1
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize("template", [*NAMES, SILENT])
def test_every_text_arrives_and_the_answer_begins_at_the_end(with_template: MakeTokenizer, template: str) -> None:
    tokenizer = with_template(template)
    prompt = said(tokenizer, TALK)
    assert all(message["content"] in prompt for message in TALK)
    tail = render(tokenizer, TALK[1:2], manner(tokenizer).parts).rpartition(TALK[1]["content"])[2]
    assert tail.strip()
    assert prompt.rpartition(TALK[-1]["content"])[2] == tail


@pytest.mark.parametrize("template", ["gemma", "llama3", "qwen3", "qwen3_5_think", "smolvlm", SILENT])
def test_what_is_too_long_is_cut(with_template: MakeTokenizer, template: str) -> None:
    tokenizer = with_template(template)
    whole = encode_chat(SimpleNamespace(tokenizer=tokenizer), TALK)
    shorter = said(tokenizer, TALK, len(whole) - 1)
    assert TALK[0]["content"] in shorter
    assert TALK[1]["content"] not in shorter
    assert TALK[-1]["content"] in shorter


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("deepseek_r1_distill", "<｜end▁of▁sentence｜>"),
        ("gemma", "<end_of_turn>"),
        ("gemma4", "<turn|>"),
        ("gptoss", "<|return|>"),
        ("llama3", "<|eot_id|>"),
        ("phi3", "<|end|>"),
        ("qwen3", "<|im_end|>"),
        ("qwen3_5_think", "<|im_end|>"),
        ("smolvlm", "<end_of_utterance>"),
        (SILENT, "<|end|>"),
    ],
)
def test_the_token_that_ends_a_turn_ends_answers(
    tiny_base: Base, with_template: MakeTokenizer, template: str, end: str
) -> None:
    tokenizer = with_template(template, end)
    base = Base(id="asked", fingerprint="0" * 16, model=tiny_base.model, tokenizer=tokenizer, context=256)
    assert base.eos_ids == tiny_base.eos_ids | {tokenizer.convert_tokens_to_ids(end)}


def test_a_template_that_names_a_token_the_tokenizer_lacks(tiny_base: Base) -> None:
    tokenizer = copy.deepcopy(tiny_base.tokenizer)
    tokenizer.chat_template = SILENT
    assert tokenizer.bos_token is None
    assert tokenizer.decode(encode_chat(SimpleNamespace(tokenizer=tokenizer), TALK[1:2])) == (
        "[INST] Where is my parcel? [/INST]"
    )


def test_ordinary_text_after_an_answer_ends_nothing(with_template: MakeTokenizer) -> None:
    assert manner(with_template("qwen3")).end is None


def test_each_kind_of_template_is_told_apart(with_template: MakeTokenizer) -> None:
    def found(template: str) -> Manner:
        return manner(with_template(template))

    assert found("llama3") == Manner(parts=False, system=True, later_system=True, alternates=False, end=None)
    assert found("gemma") == Manner(parts=False, system=False, later_system=False, alternates=True, end=None)
    assert found("gemma3") == Manner(parts=False, system=True, later_system=False, alternates=True, end=None)
    assert found("qwen3_vl") == Manner(parts=False, system=True, later_system=False, alternates=False, end=None)
    assert found("smolvlm") == Manner(parts=True, system=True, later_system=True, alternates=False, end=None)
    assert not found(SILENT).system


def test_a_template_is_asked_once_and_again_when_it_is_changed(
    with_template: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = with_template("gemma")
    first = manner(tokenizer)
    with monkeypatch.context() as patched:
        patched.setattr(tokenizer, "apply_chat_template", None)
        assert manner(tokenizer) is first
    tokenizer.chat_template = SILENT
    assert manner(tokenizer) != first


def test_a_system_message_goes_before_the_next_question() -> None:
    way = Manner(parts=False, system=False, later_system=False, alternates=True, end=None)
    assert arranged(way, TALK) == [
        {"role": "user", "content": "Be brief.\n\nWhere is my parcel?\n\nIt left on Monday."},
        {"role": "assistant", "content": "It arrives on Thursday."},
        {"role": "user", "content": "The person is in a hurry.\n\nAnd where is it now?"},
    ]
    assert arranged(way, TALK[:1]) == [{"role": "user", "content": "Be brief."}]


def test_several_leading_system_messages_are_one_where_only_one_is_taken() -> None:
    way = Manner(parts=False, system=True, later_system=False, alternates=False, end=None)
    rules = [{"role": "system", "content": text} for text in ("Be brief.", "Be kind.")]
    assert arranged(way, [*rules, TALK[1]]) == [{"role": "system", "content": "Be brief.\n\nBe kind."}, TALK[1]]


def test_nothing_changes_for_a_template_that_takes_all() -> None:
    assert arranged(Manner(parts=False, system=True, later_system=True, alternates=False, end=None), TALK) == TALK


def test_what_no_order_makes_acceptable_is_refused(with_template: MakeTokenizer) -> None:
    with pytest.raises(Problem, match="template refuses"):
        encode_chat(SimpleNamespace(tokenizer=with_template("gemma")), [TALK[3], TALK[1]])
