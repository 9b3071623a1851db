"""When a request is over, and what its completion says."""

from __future__ import annotations

from lm.lora import Version
from lm.request import Request
from lm.settings import Sampling
from lm.stream import Stream

END = 9


def spell(ids: list[int]) -> str:
    return "".join("?abcdefgh|"[token] for token in ids)


def request(sampling: Sampling, room: int = 100, live: bool = False) -> Request:
    return Request([1], sampling, Version("0", 0, {}), Stream("0"), room, frozenset({END}), spell, live)


def test_the_end_token_is_kept_but_not_spelled() -> None:
    for live in (False, True):
        asked = request(Sampling(), live=live)
        assert [asked.accept(token, -1.0, -2.0) for token in (1, 2, END)] == [False, False, True]
        completion = asked.stream.completion
        assert (completion.token_ids, completion.text, completion.finish_reason) == ([1, 2, END], "ab", "stop")
        assert (completion.logprobs, completion.sampling_logprobs) == ([-1.0] * 3, [-2.0] * 3)


def test_an_ignored_end_token_is_a_token_like_any_other() -> None:
    asked = request(Sampling(ignore_eos=True, max_tokens=3))
    assert [asked.accept(token, 0.0, 0.0) for token in (1, END, END)] == [False, False, True]
    assert asked.stream.completion.finish_reason == "length"
    assert asked.stream.completion.text == "a||"


def test_the_room_in_the_slot_counts_like_max_tokens() -> None:
    asked = request(Sampling(max_tokens=50), room=2)
    assert [asked.accept(1, 0.0, 0.0) for _ in range(2)] == [False, True]
    assert asked.stream.completion.finish_reason == "length"


def test_a_stop_text_held_back_is_shown_when_the_answer_ends_otherwise() -> None:
    asked = request(Sampling(stop=("bcd",), max_tokens=3), live=True)
    for token in (1, 2, 3):
        asked.accept(token, 0.0, 0.0)
    assert asked.stream.completion.text == "abc"
    assert "".join(delta.text for delta in asked.stream) == "abc"


def test_a_stop_text_met_by_the_last_token_is_a_stop() -> None:
    asked = request(Sampling(stop=("c",), max_tokens=3))
    for token in (1, 2, 3):
        asked.accept(token, 0.0, 0.0)
    assert asked.stream.completion.finish_reason == "stop"
    assert asked.stream.completion.text == "ab"


def test_the_same_seed_draws_the_same_numbers() -> None:
    first, second, fresh = (request(Sampling(seed=seed)) for seed in (5, 5, None))
    numbers = [first.uniform() for _ in range(4)]
    assert numbers == [second.uniform() for _ in range(4)] != [fresh.uniform() for _ in range(4)]


def test_cancelled_with_what_there_is() -> None:
    asked = request(Sampling(), live=True)
    asked.accept(1, 0.0, 0.0)
    asked.close("cancelled")
    assert asked.stream.completion.text == "a"
    assert asked.stream.completion.finish_reason == "cancelled"
