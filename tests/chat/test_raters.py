"""Simulated people against a small stand-in for the server, and the judge against the real engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chat.personas import PERSONAS
from chat.rater_minds import KINDS
from chat.raters import judge, simulate
from lm.adapters import Adapter
from lm.engine import Engine
from lm.settings import EngineSettings
from lm.starter.skills import questions
from problems import Problem

if TYPE_CHECKING:
    from lm.loading import Base

SHORT = "Friday."
POLITE = "Of course! Your order number 1234 arrives on Friday. Is there anything else I can help with?"


class Server:
    """Answers every second choice politely, and keeps what was asked and thought."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.opinions: list[dict[str, Any]] = []
        self.texts: dict[str, str] = {}
        self.asker: dict[str, str] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path == "/v1/feedback":
            self.opinions.append(body)
            return httpx.Response(200, json={"id": "r", "generation": body["id"], "kind": body["kind"]})
        assert request.url.path == "/v1/chat/completions"
        self.asked.append(body)
        choices = []
        for index in range(body["n"]):
            generation = f"gen-{len(self.texts):024x}"
            text = (SHORT, POLITE)[(len(self.asked) + index) % 2]
            self.texts[generation], self.asker[generation] = text, body["user"]
            choices.append(
                {"index": index, "generation": generation, "message": {"role": "assistant", "content": text}}
            )
        return httpx.Response(200, json={"id": choices[0]["generation"], "choices": choices})


def test_the_shorter_answer_wins_for_a_terse_person_without_noise() -> None:
    server = Server()
    heard: list[int] = []
    done = simulate(
        "http://x", PERSONAS["terse"], 60, noise=0.0, transport=httpx.MockTransport(server), progress=heard.append
    )
    assert done.ratings == len(server.opinions) == len(server.asked) == 60
    assert heard == list(range(1, 61))
    assert done.flipped == 0
    assert done.by_kind == {kind: sum(o["kind"] == kind for o in server.opinions) for kind in ("pair", "thumb")}
    assert 30 <= done.by_kind["pair"] <= 54
    for opinion in server.opinions:
        if opinion["kind"] == "pair":
            chosen = opinion["id"] if opinion["value"] == "left" else opinion["other"]
            assert opinion["value"] in ("left", "right")
            assert server.texts[chosen] == SHORT
        else:
            assert opinion["value"] in (1, -1)
            assert server.texts[opinion["id"]] == SHORT or opinion["value"] == -1


def test_noise_turns_ratings_round() -> None:
    server = Server()
    done = simulate(
        "http://x", PERSONAS["terse"], 200, noise=0.25, kinds={"pair": 1.0}, transport=httpx.MockTransport(server)
    )
    against = sum(server.texts[o["id" if o["value"] == "left" else "other"]] == POLITE for o in server.opinions)
    assert against == done.flipped
    assert 30 < done.flipped < 70


def test_everybody_asks_as_the_api_wants() -> None:
    server = Server()
    simulate("http://x", PERSONAS["courteous"], 80, people=4, transport=httpx.MockTransport(server))
    assert {body["user"] for body in server.asked} == {f"courteous-{k}" for k in range(1, 5)}
    assert [body["messages"] for body in server.asked] == [item.messages for item in questions("train", 0, 80)]
    assert {body["temperature"] for body in server.asked} == {1.0}
    assert all(opinion["user"] == server.asker[opinion["id"]] for opinion in server.opinions)


def test_equal_answers_are_a_tie_or_both_bad() -> None:
    class Same(Server):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            response = super().__call__(request)
            if request.url.path == "/v1/feedback":
                return response
            body = response.json()
            for choice in body["choices"]:
                choice["message"]["content"] = POLITE
            return httpx.Response(200, json=body)

    for name, value in (("terse", "both_bad"), ("lively", "both_bad")):
        server = Same()
        simulate("http://x", PERSONAS[name], 10, kinds={"pair": 1.0}, transport=httpx.MockTransport(server))
        assert {opinion["value"] for opinion in server.opinions} == {value}


def test_every_kind_goes_through_the_api() -> None:
    server = Server()
    kinds = dict.fromkeys(KINDS, 0.2)
    done = simulate("http://x", PERSONAS["courteous"], 100, kinds=kinds, transport=httpx.MockTransport(server))
    assert set(done.by_kind) == set(KINDS)
    assert done.by_kind == {kind: sum(o["kind"] == kind for o in server.opinions) for kind in KINDS}
    assert all(("other" in opinion) == (opinion["kind"] == "pair") for opinion in server.opinions)
    assert (done.random, done.adversaries) == ([], [])
    better = [o["value"] for o in server.opinions if o["kind"] == "correction"]
    assert better
    assert all(isinstance(text, str) and text.strip() for text in better)


def test_an_answer_that_cannot_be_bettered_gets_a_thumb_up() -> None:
    class Best(Server):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            response = super().__call__(request)
            if request.url.path == "/v1/feedback":
                return response
            body = response.json()
            asked = json.loads(request.content)["messages"]
            [item] = [item for item in questions("train", 0, 12) if item.messages == asked]
            body["choices"][0]["message"]["content"] = item.answer
            return httpx.Response(200, json=body)

    server = Best()
    kinds = {"correction": 1.0}
    done = simulate("http://x", PERSONAS["terse"], 12, noise=0.0, kinds=kinds, transport=httpx.MockTransport(server))
    assert done.by_kind == {"thumb": 12}
    assert {opinion["value"] for opinion in server.opinions} == {1}


def test_bad_raters_are_named_and_push_the_other_way() -> None:
    server = Server()
    done = simulate(
        "http://x",
        PERSONAS["terse"],
        120,
        noise=0.0,
        people=10,
        kinds={"pair": 1.0},
        random_share=0.2,
        adversary_share=0.2,
        transport=httpx.MockTransport(server),
    )
    assert (len(done.random), len(done.adversaries), done.flipped) == (2, 2, 0)
    assert not set(done.random) & set(done.adversaries)
    for opinion in server.opinions:
        chosen = {"left": "id", "right": "other"}.get(opinion["value"])
        if opinion["user"] in done.adversaries:
            assert chosen is not None
            assert server.texts[opinion[chosen]] == POLITE
        elif opinion["user"] not in done.random:
            assert chosen is not None
            assert server.texts[opinion[chosen]] == SHORT
    careless = {o["value"] for o in server.opinions if o["user"] in done.random}
    assert len(careless) > 2


def test_a_refusal_and_a_silent_server_are_problems() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, json={"error": {"message": "too many wait"}})

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Problem, match="429: too many wait"):
        simulate("http://x", PERSONAS["terse"], 3, transport=httpx.MockTransport(refuse))
    with pytest.raises(Problem, match="does not answer") as caught:
        simulate("http://x", PERSONAS["terse"], 3, transport=httpx.MockTransport(silent))
    assert "ratchet serve" in caught.value.hint
    with pytest.raises(Problem, match="at least 1"):
        simulate("http://x", PERSONAS["terse"], 0)
    with pytest.raises(Problem, match=r"add up to 0\.5"):
        simulate("http://x", PERSONAS["terse"], 1, kinds={"pair": 0.5})


def test_a_version_against_itself_is_all_ties(tiny_base: Base) -> None:
    engine = Engine(tiny_base, EngineSettings(slots=8))
    heard: list[int] = []
    verdict = judge(engine, PERSONAS["terse"], "0", n=6, progress=heard.append)
    assert (verdict.win_rate, verdict.ties, verdict.n) == (0.5, 6, 6)
    assert verdict.low < 0.5 < verdict.high
    assert heard == list(range(1, 13))


def test_another_version_is_judged_by_its_own_answers(tiny_base: Base) -> None:
    import torch

    name = "model.layers.0.mlp.down_proj"
    wide, narrow = tiny_base.model.config.intermediate_size, tiny_base.model.config.hidden_size
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: (
            torch.randn(4, wide, generator=generator),
            torch.randn(narrow, 4, generator=generator),
        )
    }
    engine = Engine(tiny_base, EngineSettings(slots=8))
    engine.install("7", Adapter(rank=4, alpha=16.0, weights=weights))
    one = judge(engine, PERSONAS["terse"], "7", n=8, temperature=1.0)
    other = judge(engine, PERSONAS["terse"], "0", base="7", n=8, temperature=1.0)
    assert one.win_rate == pytest.approx(1 - other.win_rate)
    assert one.ties < 8
