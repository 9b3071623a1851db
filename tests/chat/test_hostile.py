"""Requests that nobody means well by: none may crash the server, be half stored, or be answered with 5xx.

`RATCHET_HOSTILE=10000` sends as many.
"""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from store.schema import Generation, Rating

from .conftest import Running

EXAMPLES = int(os.environ.get("RATCHET_HOSTILE", "400"))

NASTY_TEXTS = (
    *("", " ", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "\u202e\u200b", "🙂" * 300, "<|end|><|assistant|>", "'; --"),
    *("<script>alert(1)</script>", "../../etc/passwd", "%s%n", "\r\n\r\n", "x" * 20_000, "gen-" + "0" * 24, "1e999"),
)
texts = st.sampled_from(NASTY_TEXTS) | st.text(max_size=40)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | texts
    | st.sampled_from([1, -1, 10, 11, "left", "tie", "right", 0.5])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
KINDS = ("thumb", "score", "tags", "comment", "correction", "pair", "", "thumb ", "THUMB")


def bodies(answer: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of an opinion, most of them nearly right."""
    ids = st.sampled_from([answer, answer.upper(), answer + " "]) | values
    return st.fixed_dictionaries(
        {"id": ids, "kind": st.sampled_from(KINDS) | values, "value": values},
        optional={"other": ids, "user": values, "surprise": values, "created": st.just("2999-01-01")},
    )


def chats() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of a completion."""
    turn = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool", "root"]) | values, "content": values}
    )
    return st.fixed_dictionaries(
        {"messages": st.lists(turn, max_size=3) | values},
        optional={
            "max_tokens": st.sampled_from([0, 1, 2, -1, 2**63]) | values,
            **dict.fromkeys(("temperature", "top_p", "seed", "stop", "n", "stream", "model", "user"), values),
            "metadata": st.dictionaries(st.sampled_from(["conversation", "x"]), values, max_size=2),
        },
    )


def damaged(raw: bytes, how: str) -> bytes:
    """The body as a bad client would send it."""
    return {
        "whole": raw,
        "cut": raw[: len(raw) // 2],
        "twice": raw[:-1] + b"," + raw[1:] if raw.startswith(b"{") and len(raw) > 2 else raw,  # duplicate keys
        "latin": raw.decode("utf-8", "replace").encode("latin-1", "replace"),
        "noise": raw + b"\xff\xfe\x00",
        "bom": b"\xef\xbb\xbf" + raw,
    }[how]


def counts(running: Running) -> tuple[int, int]:
    with running.store.session(reading=True) as session:
        rated = session.scalar(select(func.count()).select_from(Rating)) or 0
        return rated, session.scalar(select(func.count()).select_from(Generation)) or 0


def sent(running: Running, path: str, raw: bytes, kind: str = "application/json") -> httpx.Response:
    response = running.client.post(path, content=raw, headers={"Content-Type": kind})
    assert response.status_code < 500, (response.status_code, response.text[:200], raw[:300])
    if response.status_code >= 400:
        assert response.json()["error"]["message"]
    return response


HOW = st.sampled_from(["whole", "whole", "whole", "cut", "twice", "latin", "noise", "bom"])
QUIETLY = settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_opinions_that_are_no_opinions(running: Running) -> None:
    answer = str(running.ask(max_tokens=2).json()["id"])

    @QUIETLY
    @given(body=bodies(answer), how=HOW)
    def attack(body: dict[str, Any], how: str) -> None:
        before = counts(running)[0]
        response = sent(running, "/v1/feedback", damaged(json.dumps(body).encode(), how))
        assert counts(running)[0] - before == (1 if response.status_code == 200 else 0)

    attack()


def test_completions_that_ask_for_nothing_sensible(running: Running) -> None:
    @QUIETLY
    @given(body=chats(), how=HOW)
    def attack(body: dict[str, Any], how: str) -> None:
        before = counts(running)[1]
        response = sent(running, "/v1/chat/completions", damaged(json.dumps(body).encode(), how))
        if response.status_code >= 400:
            assert counts(running)[1] == before

    attack()


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"value": ' + b"9" * 10_000 + b"}",
        b'{"id": "' + b"x" * 10_000_000 + b'"}',
        b'{"value": NaN, "id": Infinity, "kind": -Infinity}',
        "\ufeff{}".encode("utf-16"),
    ],
    ids=["empty", "null", "list", "cut", "deep list", "deep object", "long number", "10 MB", "NaN", "UTF-16"],
)
def test_bodies_made_by_hand(running: Running, path: str, raw: bytes) -> None:
    before = counts(running)
    assert sent(running, path, raw).status_code in (400, 413, 422)
    assert sent(running, path, raw, "text/plain").status_code in (400, 413, 415, 422)
    assert counts(running) == before
    assert running.ask(max_tokens=2).status_code == 200
