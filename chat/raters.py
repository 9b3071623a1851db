"""Simulated people: they ask and rate through the HTTP API like anyone else, led by a hidden preference.

With them the whole loop can be tried in minutes, and afterwards the hidden preference itself says whether the loop
learned it (`judge`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import httpx

from chat.personas import Persona, prefer, thumb
from lm.evaluation import wilson
from lm.prompts import fit_chat
from lm.settings import Sampling
from lm.starter.skills import questions
from lm.suites import Item
from problems import Problem

if TYPE_CHECKING:
    from lm.engine import Engine

PAIR_SHARE = 0.7  # of all ratings; the rest are thumbs
MAX_TOKENS = 120
TIMEOUT = 120.0  # seconds for one answer on a busy server


@dataclass(frozen=True)
class SimulationReport:
    """What was rated: how many opinions, of which kinds, by which persona, and how many went against it (noise)."""

    ratings: int
    by_kind: dict[str, int]
    persona: str
    flipped: int


@dataclass(frozen=True)
class JudgeReport:
    """How often the hidden preference likes a version more than the base version, ties counting half."""

    win_rate: float
    low: float
    high: float
    ties: int
    n: int


@dataclass(frozen=True)
class Task:
    """One rating to give, planned ahead, so that a seed fixes who asks what and who errs."""

    item: Item
    person: str
    kind: Literal["pair", "thumb"]
    flipped: bool
    seed: int


def simulate(
    url: str,
    persona: Persona,
    ratings: int,
    noise: float = 0.1,
    seed: int = 0,
    people: int = 8,
    pair_share: float = PAIR_SHARE,
    concurrency: int = 8,
    key: str | None = None,
    progress: Callable[[int], None] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> SimulationReport:
    """Ask and rate `ratings` times at the server `url`.

    Args:
        noise: share of ratings that go against the hidden preference.
        people: number of different people who rate.
        pair_share: share of comparisons of two answers; the rest are thumbs on one.
        concurrency: people who wait for an answer at the same time.
        key: an API key that speaks for nobody in particular, for a server that asks for one.
        progress: hears how many ratings are done.
        transport: another way to the server than the network, such as `httpx.ASGITransport`.

    Raises:
        Problem: the server cannot be reached or refuses a call, or an argument is out of range.
    """
    if ratings < 1 or people < 1 or concurrency < 1 or not (0 <= noise <= 1 and 0 <= pair_share <= 1):
        raise Problem(
            "The simulation needs at least 1 rating, person and connection, and shares between 0 and 1.", status=2
        )
    tasks = plan(persona, ratings, noise, seed, people, pair_share)
    asyncio.run(_rate_all(url, persona, tasks, concurrency, key, progress, transport))
    kinds: Counter[str] = Counter(task.kind for task in tasks)
    return SimulationReport(ratings, dict(kinds), persona.name, sum(task.flipped for task in tasks))


def plan(persona: Persona, ratings: int, noise: float, seed: int, people: int, pair_share: float) -> list[Task]:
    """The ratings to give: prompts from the training half of the starter's world, in random order of people."""
    rng = random.Random(f"raters|{persona.name}|{seed}")
    first = rng.randrange(2**40)
    return [
        Task(
            item,
            f"{persona.name}-{rng.randrange(people) + 1}",
            "pair" if rng.random() < pair_share else "thumb",
            rng.random() < noise,
            first + 2 * index,  # the second answer of a pair is drawn with the next number
        )
        for index, item in enumerate(questions("train", seed, ratings))
    ]


async def _rate_all(
    url: str,
    persona: Persona,
    tasks: list[Task],
    concurrency: int,
    key: str | None,
    progress: Callable[[int], None] | None,
    transport: httpx.AsyncBaseTransport | None,
) -> None:
    waiting = iter(tasks)
    done = 0

    async def person(client: httpx.AsyncClient) -> None:
        nonlocal done
        for task in waiting:
            await _rate_one(client, persona, task)
            done += 1
            if progress is not None:
                progress(done)

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, transport=transport, headers=headers) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(tasks))):
                    group.create_task(person(client))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


async def _rate_one(client: httpx.AsyncClient, persona: Persona, task: Task) -> None:
    item, pair = task.item, task.kind == "pair"
    answered = await _post(
        client,
        "/v1/chat/completions",
        {
            "model": "ratchet",
            "messages": item.messages,
            "n": 2 if pair else 1,
            "temperature": 1.0,
            "max_tokens": MAX_TOKENS,
            "seed": task.seed,
            "user": task.person,
        },
    )
    texts = [choice["message"]["content"] for choice in answered["choices"]]
    ids = [choice["generation"] for choice in answered["choices"]]
    opinion: dict[str, Any] = {"id": ids[0], "kind": task.kind, "user": task.person}
    if pair:
        opinion |= {"other": ids[1], "value": _verdict(persona, item, texts[0], texts[1], task.flipped)}
    else:
        liked = thumb(persona, item.messages, texts[0], item)
        opinion["value"] = -liked if task.flipped else liked
    await _post(client, "/v1/feedback", opinion)


def _verdict(persona: Persona, item: Item, left: str, right: str, flipped: bool) -> str:
    preferred = prefer(persona, item.messages, left, right, item)
    if preferred == 0.5:
        liked = thumb(persona, item.messages, left, item) == 1 or thumb(persona, item.messages, right, item) == 1
        return "tie" if liked else "both_bad"
    return "left" if (preferred == 1.0) != flipped else "right"


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = await client.post(path, json=body)
    except httpx.HTTPError as error:
        raise Problem(
            f"The server at {client.base_url} does not answer: {error or type(error).__name__}.",
            hint="Start it with `ratchet serve`, or give its --url.",
        ) from error
    if response.is_error:
        raise Problem(
            f"{path} answered {response.status_code}: {_message(response)}", hint="Look at the server's own output."
        )
    answered: dict[str, Any] = response.json()
    return answered


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def judge(
    engine: Engine,
    persona: Persona,
    version: str,
    base: str = "0",
    n: int = 200,
    seed: int = 0,
    temperature: float = 0.8,
    progress: Callable[[int], None] | None = None,
) -> JudgeReport:
    """Compare sampled answers of `version` and `base` on `n` prompts of the test half, by the hidden preference.

    Both versions answer the same prompts with the same random numbers; `progress` hears how many of the 2n answers
    are there. The interval is Wilson's at 95 % on wins plus half the ties.
    """
    items = questions("test", seed, n)
    samplings = [Sampling(temperature=temperature, max_tokens=MAX_TOKENS, seed=seed + index) for index in range(n)]
    prompts = [fit_chat(engine.base, item.messages, engine.context - MAX_TOKENS) for item in items]
    texts: list[list[str]] = []
    for name in (version, base):
        before = len(texts) * n
        told = (lambda done, before=before: progress(before + done)) if progress is not None else None
        texts.append([done.text for done in engine.generate(prompts, samplings, name, told)])
    outcomes = [prefer(persona, item.messages, a, b, item) for item, a, b in zip(items, *texts, strict=True)]
    won = sum(outcomes)
    low, high = wilson(won, n)
    return JudgeReport(won / n, low, high, outcomes.count(0.5), n)
