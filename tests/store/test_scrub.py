from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.scrub import Scrubber

FOUND = [
    ("Write to jane.doe+news@mail.example.co.uk, please.", "Write to <EMAIL>, please."),
    ("请发邮件到zhang_wei@example.com谢谢", "请发邮件到<EMAIL>谢谢"),
    ("Call +1 415 555 2671 or (415) 555-2671.", "Call <PHONE> or <PHONE>."),
    ("My number: 020 7946 0958", "My number: <PHONE>"),
    ("Phone 4155552671 after six", "Phone <PHONE> after six"),
    ("我的手机是13800138000，家里010-62772000。", "我的手机是<PHONE>，家里<PHONE>。"),
    ("电话：+86 138 0013 8000", "电话：<PHONE>"),
    ("4821 13800138000", "4821 <PHONE>"),
    ("13800138000, 13900139000;(415) 555-2671", "<PHONE>, <PHONE>;<PHONE>"),
    ("Ref A12 13800138000 9f", "Ref A12 <PHONE> 9f"),
    ("call(415) 555-2671 x5, or 415-555-2671x123.", "call<PHONE>, or <PHONE>."),
    ("+1 415 555 2671 and +86 138 0013 8000", "<PHONE> and <PHONE>"),
    ("Card 4111 1111 1111 1111, exp. 04/29", "Card <CARD>, exp. 04/29"),
    ("Amex 3782 822463 10005 or 378282246310005", "Amex <CARD> or <CARD>"),
    ("银行卡号6222021234567890128。", "银行卡号<CARD>。"),
    ("IBAN GB82 WEST 1234 5698 7654 32 NOW", "IBAN <IBAN> NOW"),
    ("账号de89370400440532013000，", "账号<IBAN>，"),
    ("AKIAIOSFODNN7EXAMPLE is ours", "<SECRET> is ours"),
    ("token ghp_" + "a1B2" * 9, "token <SECRET>"),
    ("OPENAI_API_KEY=sk-proj-" + "Ab3_" * 10, "OPENAI_API_KEY=<SECRET>"),
    ("My key is rk-" + "-b3_" * 10 + "xyz.", "My key is <SECRET>."),
    ("sk-ant-api03-" + "Ab3-" * 30 + "AA", "<SECRET>"),
    ("hf_" + "aBcD" * 9, "<SECRET>"),
    ("https://ann:pa55@db.example.com/x", "https://<SECRET>@db.example.com/x"),
    ("secret: x1.ghp_" + "a1B2" * 9, "secret: <SECRET>"),
    ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "Bearer <SECRET>"),
    ("The password is hunter22!", "The password is <SECRET>!"),
    ("密码：abc12345。", "密码：<SECRET>。"),
    ('{"api_key": "0123456789abcdef"}', '{"api_key": "<SECRET>"}'),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE-x/9\nab==\n-----END RSA PRIVATE KEY-----\nbye", "<SECRET>\nbye"),
]
KEPT = [
    "Order 4821 has 120000 gram of flour for 1,234,567.89 EUR.",
    "订单4821已发货，共120000克，价格¥1,299.00。",
    "订单号202411240001，请于2024年11月24日前取货。",
    "Order 2025550123 and order number 4155552671",
    "On 2024-11-24 10:30:00, at 24/11/2024, from 09:00-17:30, in 2010-2015.",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8, id 550e8400-e29b-41d4-a716-446655440000",
    "ISBN 978-7-111-54742-6 and ISBN 0-306-40615-2",
    "At 192.168.100.200, version 2.0.26.1, epoch 1732435200 or 1732435200123",
    "Card number 4111 1111 1111 1112 has a wrong digit; so has GB82 WEST 1234 5698 7654 33.",
    "Your password is required. The token: see below. Key: C major. Secret: none.",
    "密码是必填的。令牌：无",
    "pip install pkg@1.2.3; @ann said hi; a @ b.",
    "3.14159265358979 and 100000000000000 and 12 345 678 people",
    "The area is 1200000000 square metres; ¥13800138000; $4155552671.",
    "task-based and risk-adjusted-returns-over-the-long-run",
    "work-life-balance-and-everything-else-that-people-write-about",
    "Already <EMAIL> and <PHONE>.",
]


@pytest.mark.parametrize(("text", "clean"), FOUND)
def test_what_is_personal_becomes_a_placeholder(text: str, clean: str) -> None:
    assert Scrubber().scrub(text) == clean
    assert Scrubber().scrub(clean) == clean


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    scrubber = Scrubber()
    assert scrubber.scrub(text) == text
    assert scrubber.total() == {}


def test_finds_are_counted_by_field_and_kind() -> None:
    scrubber = Scrubber()
    turns = [
        {"role": "system", "content": "Reply to a@b.org or +44 20 7946 0958."},
        {"role": "user", "content": "I am c@d.org"},
        {"role": "user", "content": [{"type": "image"}]},
    ]
    clean = scrubber.scrub_turns(turns)
    assert [turn["content"] for turn in clean[:2]] == ["Reply to <EMAIL> or <PHONE>.", "I am <EMAIL>"]
    assert clean[2] == turns[2]
    assert turns[1]["content"] == "I am c@d.org"
    scrubber.scrub("e@f.org", "chosen")
    assert scrubber.total() == {"chosen": {"email": 1}, "prompt": {"email": 2, "phone": 1}}


def test_regions_decide_which_numbers_need_no_country_code() -> None:
    text = "Ruf 030 901820 an, oder +49 30 901820."
    assert Scrubber().scrub(text) == "Ruf 030 901820 an, oder <PHONE>."
    assert Scrubber(["DE"]).scrub(text) == "Ruf <PHONE> an, oder <PHONE>."


PIECES = st.sampled_from([text for text, _ in FOUND] + KEPT) | st.text(max_size=6) | st.sampled_from("@.-+ :=1")


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_scrubbing_again_changes_nothing(text: str) -> None:
    clean = Scrubber().scrub(text)
    again = Scrubber()
    assert again.scrub(clean) == clean
    assert again.total() == {}


HARD = [
    "a" * 64,
    "1 ",
    "1-",
    "12345 678 ",
    "a@",
    "a.",
    "GB82 ",
    "sk-",
    "eyJhbGciOi.",
    "://",
    "://a:",
    "password:",
    "-----BEGIN PRIVATE KEY-----",
    "(+",
    "xox ",
    "今天13800天气",
]


@pytest.mark.parametrize("piece", HARD)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        begun = time.process_time()
        Scrubber().scrub(text)
        return time.process_time() - begun

    short = min(seconds(5_000) for _ in range(3))
    long = min(seconds(40_000) for _ in range(2))
    assert long < 24 * short + 0.05  # 8 times the length; a square would be 64 times the time


def test_ten_million_characters_take_seconds() -> None:
    text = "Order 4821 ships on Monday at 10:30. 今天天气很好，价格是 12,000 元。 " * 200_000
    begun = time.process_time()
    assert Scrubber().scrub(text) == text
    assert len(text) > 9_000_000
    assert time.process_time() - begun < 20
