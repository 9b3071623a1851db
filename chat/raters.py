"""Simulated people: they ask and rate through the HTTP API like anyone else, led by a hidden preference.

With them the whole loop can be tried in minutes, and afterwards the hidden preference itself says whether the loop
learned it (`judge`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from chat.personas import Persona, prefer
from chat.rater_minds import opinion, recruit
from chat.rating_plan import DEFAULT_KINDS, Task, check_kinds, plan
from lm.evaluation import wilson
from lm.prompts import fit_chat
from lm.settings import Sampling
from lm.starter.skills import questions
from problems import Problem

if TYPE_CHECKING:
    from lm.engine import Engine

MAX_TOKENS = 120
TIMEOUT = 120.0  # seconds for one answer on a busy server


@dataclass(frozen=True)
class SimulationReport:
    """What was rated.

    Attributes:
        ratings, by_kind: how many opinions, and of which kinds.
        flipped: how many of the honest people's opinions were noise.
        random, adversaries: names of the people who answered at random, and of those who pushed the other way.
    """

    ratings: int
    by_kind: dict[str, int]
    persona: str
    flipped: int
    random: list[str]
    adversaries: list[str]


@dataclass(frozen=True)
class JudgeReport:
    """How often the hidden preference likes a version more than the base version, ties counting half."""

    win_rate: float
    low: float
    high: float
    ties: int
    n: int


def simulate(
    url: str,
    persona: Persona,
    ratings: int,
    noise: float = 0.1,
    seed: int = 0,
    people: int = 8,
    kinds: Mapping[str, float] = DEFAULT_KINDS,
    threshold_spread: float = 0.0,
    random_share: float = 0.0,
    adversary_share: float = 0.0,
    concurrency: int = 8,
    key: str | None = None,
    progress: Callable[[int], None] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> SimulationReport:
    """Ask and rate `ratings` times at the server `url`.

    A person who finds nothing to better in an answer gives a thumb up in place of a correction.

    Args:
        noise: share of the honest people's ratings that go against the hidden preference, or are drawn at random.
        people: number of different people who rate.
        kinds: share of each kind of rating, of `chat.rater_minds.KINDS`, adding up to 1.
        threshold_spread, random_share, adversary_share: of the people, see `chat.rater_minds.recruit`.
        concurrency: people who wait for an answer at the same time.
        key: an API key that speaks for nobody in particular, for a server that asks for one.
        progress: hears how many ratings are done.
        transport: another way to the server than the network, such as `httpx.ASGITransport`.

    Raises:
        Problem: the server cannot be reached or refuses a call, or an argument is out of range.
    """
    if ratings < 1 or people < 1 or concurrency < 1 or not 0 <= noise <= 1:
        raise Problem(
            "The simulation needs at least 1 rating, person and connection, and noise between 0 and 1.", status=2
        )
    check_kinds(kinds)
    raters = recruit(persona, seed, people, threshold_spread, random_share, adversary_share)
    tasks = plan(persona, ratings, noise, seed, raters, kinds)
    given = asyncio.run(_rate_all(url, tasks, concurrency, key, progress, transport))
    return SimulationReport(
        ratings=given.total(),
        by_kind=dict(given),
        persona=persona.name,
        flipped=sum(task.flipped and task.person.character == "honest" for task in tasks),
        random=[rater.name for rater in raters if rater.character == "random"],
        adversaries=[rater.name for rater in raters if rater.character == "adversary"],
    )


async def _rate_all(
    url: str,
    tasks: list[Task],
    concurrency: int,
    key: str | None,
    progress: Callable[[int], None] | None,
    transport: httpx.AsyncBaseTransport | None,
) -> Counter[str]:
    """Give every rating, and count what was given by kind."""
    waiting = iter(tasks)
    given: Counter[str] = Counter()

    async def person(client: httpx.AsyncClient) -> None:
        for task in waiting:
            given[await _rate_one(client, task)] += 1
            if progress is not None:
                progress(given.total())

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, transport=transport, headers=headers) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(tasks))):
                    group.create_task(person(client))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
    return given


async def _rate_one(client: httpx.AsyncClient, task: Task) -> str:
    """Ask for an answer, or two, and rate; the kind of what was given."""
    item, person, kind = task.item, task.person, task.kind
    answered = await _post(
        client,
        "/v1/chat/completions",
        {
            "model": "ratchet",
            "messages": item.messages,
            "n": 2 if kind == "pair" else 1,
            "temperature": 1.0,
            "max_tokens": MAX_TOKENS,
            "seed": task.seed,
            "user": person.name,
        },
    )
    texts = [choice["message"]["content"] for choice in answered["choices"]]
    ids = [choice["generation"] for choice in answered["choices"]]
    rng = random.Random(f"opinion|{person.name}|{task.seed}")
    value = opinion(person, kind, item, texts, rng, task.flipped)
    if value is None:
        kind, value = "thumb", 1
    said: dict[str, Any] = {"id": ids[0], "kind": kind, "value": value, "user": person.name}
    await _post(client, "/v1/feedback", said | {"other": ids[1]} if kind == "pair" else said)
    return kind


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
