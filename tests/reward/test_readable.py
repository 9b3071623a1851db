"""Rows that the model cannot read are set aside and named; the others are kept as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lm.loading import Base
from problems import Problem
from reward.features import encode_pair
from reward.readable import Reader, check_share, reward_reader, summary, unreadable, without
from store.frozen import Frozen, Pair, Prompt, Thumb

REFUSES = (
    "{% for message in messages %}{% if message['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}<|assistant|>"
)
ASK = {"role": "user", "content": "Where is it?"}
PLAIN, TOOL = [ASK], [ASK, {"role": "tool", "content": "12:00"}]
LONG = [{"role": "system", "content": "Lamps are red. " * 40}, ASK]
WHOSE = {"person": "ann", "split": "train"}


@pytest.fixture(scope="module")
def base(load_tiny: Callable[[], Base]) -> Base:
    """A model whose template knows no tools."""
    loaded = load_tiny()
    loaded.tokenizer.chat_template = REFUSES
    return loaded


def frozen(*prompts: list[dict[str, Any]]) -> Frozen:
    pairs = [Pair(each, "a", "b", 1.0, "pair", "ann", f"c{i}", "train") for i, each in enumerate(prompts)]
    thumbs = [Thumb(each, "a", True, "thumb", "ann", f"c{i}", "train") for i, each in enumerate(prompts)]
    asked = [Prompt(each, "ann", f"c{i}", "train") for i, each in enumerate(prompts)]
    return Frozen("h" * 64, pairs, thumbs, asked)


def test_what_the_template_refuses_and_what_is_too_long_is_left_out_by_name(base: Base) -> None:
    rows = frozen(PLAIN, TOOL, LONG, PLAIN)
    left_out = unreadable(base, rows, [Reader(60, 60, "raise ppo.prompt_tokens"), reward_reader(base, 400)])
    assert [(each.kind, each.row, each.rating) for each in left_out] == [
        ("pairs", 1, "pair"),
        ("pairs", 2, "pair"),
        ("thumbs", 1, "thumb"),
        ("thumbs", 2, "thumb"),
        ("prompts", 1, ""),
        ("prompts", 2, ""),
    ]
    kept = without(rows, ((each.kind, each.row) for each in left_out))
    assert kept.hash == rows.hash
    assert [row.conversation for row in kept.pairs] == [row.conversation for row in kept.prompts] == ["c0", "c3"]
    tool, long = summary(left_out, [[(7, "gen-1")], [], [(8, "gen-1")], [], [], []])
    assert (tool["conversation"], tool["rows"], tool["ratings"], tool["generations"]) == ("c1", 3, [7, 8], ["gen-1"])
    assert "no tools" in tool["reason"]
    assert "there is room for 60" in long["reason"]
    assert "raise ppo.prompt_tokens" in long["reason"]


def test_the_hint_names_the_bound_that_can_be_moved(base: Base) -> None:
    for context, hint in ((base.context - 1, "raise reward.context"), (10**6, f"more than {base.context} tokens")):
        assert hint in reward_reader(base, context).raise_limit
    assert "raise reward.context" in unreadable(base, frozen(LONG), [reward_reader(base, 40)])[0].reason


def test_a_long_talk_is_read_without_its_oldest_turns(base: Base) -> None:
    turns = [{"role": role, "content": "word " * 30} for role in ("user", "assistant", "user")]
    assert unreadable(base, frozen(turns), [Reader(40, 40, "")]) == []


def test_more_than_a_share_is_an_error_that_names_them(base: Base) -> None:
    rows = frozen(PLAIN, TOOL)
    left_out = unreadable(base, rows, [reward_reader(base, 400)])
    check_share(rows, left_out, 0.5)
    with pytest.raises(Problem, match="3 of 6 rows") as told:
        check_share(rows, left_out, 0.49)
    assert "conversation c1" in str(told.value)
    assert told.value.data["left_out"][0]["conversation"] == "c1"


def test_beside_a_prompt_that_cannot_be_shortened_the_answers_tail_gives_way(base: Base) -> None:
    least = len(encode_pair(base, LONG, "a", 500)[0])
    context = least + 20
    ids, start = encode_pair(base, LONG, "three sides " * 100, context)
    assert len(ids) <= context
    assert len(ids) - start > 10
    assert ids[-1] == base.tokenizer.eos_token_id
    with pytest.raises(Problem, match=r"raise reward\.context|room for"):
        encode_pair(base, LONG, "a", 20)
