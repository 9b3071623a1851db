"""Thinking and content told apart: whole, in any pieces, and in the templates of real models."""

from __future__ import annotations

import copy
import itertools
from importlib.resources import files
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.loading import Base
from lm.prompts import encode_chat, fit_chat
from lm.thinking import Marks, Thinking, special_marks, split, thinking_marks, without_thinking
from lm.writer import Writer, decoder

FOLDER = files("trl").joinpath("chat_templates")
CLOSED = Marks("<think>", "</think>", opened=False)
OPENED = Marks("<think>", "</think>", opened=True)
PIECES = ["<think>", "</think>", "<th", "ink>", "</", "<", ">", "\n", " ", "why", "so it is", "é"]


def talker(base: Base, template: str, *specials: str) -> SimpleNamespace:
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.add_tokens(list(specials), special_tokens=True)
    tokenizer.chat_template = FOLDER.joinpath(f"{template}.jinja").read_text("utf-8")
    return SimpleNamespace(tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("marks", "text", "expected"),
    [
        (CLOSED, "<think>\nwhy\n</think>\n\nbecause", ("why", "because")),
        (CLOSED, "\n<think>why</think>because", ("why", "because")),
        (CLOSED, "<think>\n\n</think>\n\nbecause", ("", "because")),
        (CLOSED, "because <think>x</think>", ("", "because <think>x</think>")),
        (CLOSED, "<think>why </thin", ("why </thin", "")),
        (CLOSED, "<think>why", ("why", "")),
        (CLOSED, "<thin", ("", "<thin")),
        (CLOSED, "<think>why</think>\n    indented\n", ("why", "    indented\n")),
        (CLOSED, "<think>a</think>b</think>c", ("a", "b</think>c")),
        (CLOSED, "", ("", "")),
        (OPENED, "why\n</think>\n\nbecause", ("why", "because")),
        (OPENED, "<think>\nwhy</think>because", ("why", "because")),
        (OPENED, "cut in the middle", ("cut in the middle", "")),
        (None, "<think>why</think>because", ("", "<think>why</think>because")),
    ],
)
def test_split(marks: Marks | None, text: str, expected: tuple[str, str]) -> None:
    assert split(marks, text) == expected


@given(st.lists(st.sampled_from(PIECES)), st.lists(st.integers(0, 60)), st.sampled_from([CLOSED, OPENED, None]))
@settings(max_examples=500, deadline=None)
def test_any_cutting_gives_what_the_whole_gives(pieces: list[str], cuts: list[int], marks: Marks | None) -> None:
    text = "".join(pieces)
    edges = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    splitter = Thinking(marks)
    found = [splitter.push(text[begin:end]) for begin, end in itertools.pairwise(edges)]
    found += [splitter.finish(), splitter.finish()]
    assert ("".join(thinking for thinking, _ in found), "".join(content for _, content in found)) == split(marks, text)
    assert found[-1] == ("", ""), "nothing is left for a second end"


@given(st.lists(st.sampled_from(PIECES)))
@settings(max_examples=200, deadline=None)
def test_no_word_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    thinking, content = split(CLOSED, f"<think>{text}</think>\n\nthe end")
    before, _, after = f"{text}</think>".partition("</think>")
    behind = f"{after}\n\nthe end" if not after else f"{after.removesuffix('</think>')}</think>\n\nthe end"
    assert thinking == before.strip()
    assert content == behind.lstrip("\n")


def test_thinking_streams_as_it_comes() -> None:
    splitter = Thinking(CLOSED)
    steps = ["<th", "ink>\n", "first ", "then", " </", "think>", "\n\n", "so"]
    assert [splitter.push(step) for step in steps] == [
        *(("", ""), ("", ""), ("first", ""), (" then", ""), ("", ""), ("", ""), ("", ""), ("", "so")),
    ]


@pytest.mark.parametrize(
    ("template", "usual", "off"),
    [
        ("qwen3", CLOSED, CLOSED),
        ("qwen3_5_think", OPENED, CLOSED),
        ("qwen3_5_nothink", CLOSED, CLOSED),
        ("nemotron_3_nano", OPENED, CLOSED),
        ("glm4moe", CLOSED, CLOSED),
        ("deepseek_r1_distill", OPENED, OPENED),
        ("gemma4_v5", Marks("<|channel>thought", "<channel|>", False), Marks("<|channel>thought", "<channel|>", False)),
        ("qwen3_instruct_2507", None, None),
        ("llama3", None, None),
        ("gemma", None, None),
        ("smolvlm", None, None),
    ],
)
def test_marks_of_real_templates(tiny_base: Base, template: str, usual: Marks | None, off: Marks | None) -> None:
    base = talker(tiny_base, template)
    assert thinking_marks(base) == usual
    assert thinking_marks(base, False) == off


def test_marks_that_are_only_tokens(tiny_base: Base) -> None:
    base = talker(tiny_base, "llama3", "<think>", "</think>")
    assert thinking_marks(base) is None, "the template knows nothing of them"
    base.tokenizer.chat_template += "{# answers are cut behind </think> #}"
    assert thinking_marks(base) == CLOSED


def test_a_model_without_a_template_has_no_marks(tiny_base: Base) -> None:
    tokenizer = copy.deepcopy(tiny_base.tokenizer)
    tokenizer.chat_template = None
    assert thinking_marks(SimpleNamespace(tokenizer=tokenizer)) is None


def test_thinking_is_turned_off_and_on(tiny_base: Base) -> None:
    base = talker(tiny_base, "qwen3_5_nothink")
    question = [{"role": "user", "content": "why?"}]

    def prompt(thinking: bool | None) -> str:
        ids = encode_chat(base, question, thinking)
        assert fit_chat(base, question, len(ids), thinking) == ids
        return str(base.tokenizer.decode(ids)).rpartition("assistant\n")[2]

    assert prompt(None) == prompt(False) == "<think>\n\n</think>\n\n"
    assert prompt(True) == "<think>\n"
    assert encode_chat(tiny_base, question, False) == encode_chat(tiny_base, question)


@pytest.mark.parametrize("template", ["qwen3", "qwen3_5_think", "glm4moe", "gemma4_v5", "deepseek_r1_distill"])
def test_earlier_answers_carry_no_thinking(tiny_base: Base, template: str) -> None:
    base = talker(tiny_base, template)
    marks = thinking_marks(base)
    assert marks is not None

    def encoded(answer: str) -> list[int]:
        contents = (("user", "why?"), ("assistant", answer), ("user", "how?"))
        return encode_chat(base, [{"role": role, "content": content} for role, content in contents])

    assert encoded(f"{marks.opening}\nsecret thought\n{marks.closing}\n\nbecause") == encoded("because")
    assert encoded(f"secret thought\n{marks.closing}\n\nbecause") == encoded("because") or not marks.opened


def test_content_that_speaks_of_the_marks_is_kept() -> None:
    assert without_thinking(CLOSED, "write <think> and </think>") == "write <think> and </think>"
    assert without_thinking(OPENED, "no mark at all") == "no mark at all"
    assert without_thinking(None, "<think>a</think>b") == "<think>a</think>b"


@pytest.mark.parametrize("special", [True, False])
def test_marks_are_spelled_whether_or_not_they_are_special_tokens(tiny_base: Base, special: bool) -> None:
    base = talker(tiny_base, "qwen3", "<|im_end|>")
    tokenizer = base.tokenizer
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=special)
    assert set(special_marks(tokenizer).values()) == ({"<think>", "</think>"} if special else set())
    text = "<think>\nthe sun 太阳\n</think>\n\nit is warm"
    ids = tokenizer.encode(f"{text}<|im_end|>", add_special_tokens=False)
    assert tokenizer.convert_tokens_to_ids("<think>") in ids
    writer = Writer(decoder(tokenizer))
    pieces = [writer.push(token) for token in ids]
    assert "".join([*pieces, writer.finish()]) == writer.text == text
    assert split(thinking_marks(base), writer.text) == ("the sun 太阳", "it is warm")
