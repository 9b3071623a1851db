"""A chat on the tiny model: the application alone, or served on a free port."""

from __future__ import annotations

import copy
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx
import pytest
import torch
from fastapi import FastAPI
from sqlalchemy import select

from chat.app import build_app
from chat.server import claim, make_server, url_of
from chat.service import Service
from chat.settings import ChatSettings
from lm.adapters import Adapter, write_adapter
from lm.backend import Backend, OwnEngine
from lm.engine import Engine
from lm.loading import Base
from lm.settings import EngineSettings, Sampling
from reward.model import fit_reward
from reward.settings import RewardSettings
from store.database import Store, open_store
from store.frozen import Frozen, Pair
from store.schema import Generation
from store.versions import add_version, ensure_base, promote

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SAMPLING = Sampling(temperature=1.0, max_tokens=12)
ENGINE = EngineSettings(slots=8, context=512)


@dataclass
class Running:
    """A served chat."""

    url: str
    store: Store
    base: Base
    service: Service
    client: httpx.Client

    def ask(self, text: str = "Where is my parcel?", **fields: object) -> httpx.Response:
        """One completion of one message."""
        body = {"messages": [{"role": "user", "content": text}], **fields}
        return self.client.post("/v1/chat/completions", json=body)

    def generation(self, generation_id: str) -> Generation:
        """What the store holds of an answer."""
        with self.store.session() as session:
            return session.get_one(Generation, generation_id)


T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing came in {seconds} s")


def add_adapter(store: Store, base: Base, seed: int, *, status: str = "candidate") -> int:
    """A version with a random adapter, strong enough to change what the model says."""
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in (0, 1):
        path = f"model.layers.{layer}.mlp.down_proj"
        module = base.model.get_submodule(path)
        a = torch.randn(4, module.in_features, generator=random)
        weights[path] = (a, torch.randn(module.out_features, 4, generator=random))
    folder = f"versions/v{seed}"
    digest = write_adapter(store.home / folder, Adapter(4, 8.0, weights), base)
    with store.session() as session:
        ensure_base(session, base.id, base.fingerprint)
        return add_version(
            session,
            parent=0,
            adapter=folder,
            adapter_hash=digest,
            update_id=None,
            dataset_hash=None,
            report={},
            status=status,
        ).id


def serve_version(store: Store, version: int) -> None:
    """Promote it, as the command does."""
    with store.session() as session:
        promote(session, version, "test", "to see it serve")


def thoughtful(base: Base) -> Base:
    """The base with a chat template of a model that may think before it answers."""
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>"
        "{% if message['reasoning_content'] %}<think>\n{{ message['reasoning_content'] }}\n</think>\n\n{% endif %}"
        "{{ message['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    )
    return replace(base, tokenizer=tokenizer)


def last_generation(store: Store, person: str) -> Generation | None:
    """The latest answer to a person of this name or id."""
    from store.schema import Person

    with store.session() as session:
        return session.scalars(
            select(Generation)
            .join(Person, Person.id == Generation.person_id)
            .where((Person.id == person) | (Person.name == person))
            .order_by(Generation.created.desc())
        ).first()


def own_engine(base: Base, pause: float = 0.0, settings: EngineSettings = ENGINE) -> OwnEngine:
    """The tiny model in an engine that waits `pause` seconds before each step."""
    engine = Engine(base, settings)
    if pause:
        step = engine.step

        def slow_step() -> bool:
            time.sleep(pause)
            return step()

        engine.step = slow_step  # type: ignore[method-assign]
    return OwnEngine(engine)


@contextmanager
def running_chat(
    home: Path,
    base: Base,
    settings: ChatSettings,
    sampling: Sampling = SAMPLING,
    pause: float = 0.0,
    backend: Backend | None = None,
) -> Iterator[Running]:
    """Serve a chat in a thread for as long as the block lasts.

    `pause` seconds before each step make a slow model; `backend` answers in place of the engine.
    """
    store = open_store(home)
    app = build_app(store, backend or own_engine(base, pause), settings, sampling)
    up = threading.Event()
    listener = claim("127.0.0.1", 0)
    server = make_server(app, ready=up.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert up.wait(30), "the server did not start"
        with httpx.Client(base_url=url_of(listener), timeout=30) as client:
            yield Running(url_of(listener), store, base, app.state.service, client)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        store.close()
    assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base) -> Iterator[Running]:
    """A served chat that tests share: nobody changes what serves."""
    with running_chat(tmp_path_factory.mktemp("chat"), tiny_base, ChatSettings(pair_share=0.0)) as it:
        yield it


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base) -> Path:
    """The folder of a reward model on the tiny model. Never write into it: `give_reward` copies it."""
    pairs = [
        Pair(
            [{"role": "user", "content": f"Where is {i}?"}],
            f"There, {i}.",
            "No. " * i,
            1.0,
            "pair",
            "ann",
            f"c{i}",
            "train",
        )
        for i in range(1, 17)
    ]
    settings = RewardSettings(context=128)
    folder = tmp_path_factory.mktemp("reward")
    fit_reward(tiny_base, Frozen("0" * 64, pairs, [], []), settings).save(folder)
    return folder


def give_reward(fitted: Path, home: Path, place: str = "reward") -> Path:
    """Put the fitted reward model into a store's folder, as written now."""
    folder = shutil.copytree(fitted, home / place, dirs_exist_ok=True)
    os.utime(folder / "reward.json")
    return folder


@pytest.fixture
def store(tmp_path: Path, tiny_base: Base) -> Iterator[Store]:
    """An empty store that serves the tiny model."""
    opened = open_store(tmp_path / "home")
    with opened.session() as session:
        ensure_base(session, tiny_base.id, tiny_base.fingerprint)
    yield opened
    opened.close()


@pytest.fixture
def engine(tiny_base: Base) -> Iterator[Engine]:
    """A running engine."""
    with Engine(tiny_base, ENGINE) as it:
        yield it


@pytest.fixture
def app(store: Store, tiny_base: Base) -> FastAPI:
    """The application, not started: what does not need an answer."""
    return build_app(store, OwnEngine(Engine(tiny_base, ENGINE)), ChatSettings(), SAMPLING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one module: while playwright runs, its event loop keeps asynchronous tests from theirs."""
    from playwright.sync_api import sync_playwright

    from .browsing import ARGUMENTS, chromium

    with sync_playwright() as playwright:
        it = playwright.chromium.launch(executable_path=chromium(playwright), args=ARGUMENTS)
        yield it
        it.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """The page of somebody new; nothing may be asked of other sites, and the browser has nothing to complain of."""
    from .browsing import WIDE, visit

    yield from visit(browser, running.url, WIDE)


@pytest.fixture
def narrow(browser: Browser, running: Running) -> Iterator[Page]:
    """The same on a telephone."""
    from .browsing import NARROW, visit

    yield from visit(browser, running.url, NARROW)
