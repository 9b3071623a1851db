from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path

import pytest

from chat.settings import ChatSettings
from chat.watcher import UnknownModel, Watcher
from lm.backend import OwnEngine, Prompt
from lm.engine import Engine
from lm.line import Unavailable
from lm.loading import Base
from lm.prompts import encode_chat
from lm.settings import Sampling
from store.database import Store
from store.versions import rollback, set_status

from .conftest import add_adapter, running_chat, serve_version, until

GREEDY = Sampling(temperature=0.0, max_tokens=12, ignore_eos=True)


@pytest.fixture
def watcher(store: Store, engine: Engine, tiny_base: Base) -> Watcher:
    it = Watcher(store, OwnEngine(engine), keep=2)
    it.first_look()
    return it


def says(watcher: Watcher, base: Base, model: str = "ratchet") -> list[int]:
    messages = [{"role": "user", "content": "Where is my parcel?"}]
    prompt = Prompt(messages, encode_chat(base, messages))
    stream, _ = watcher.submit(model, prompt, GREEDY)
    list(stream)
    return stream.completion.token_ids


def test_promotion_and_rollback_change_who_answers(watcher: Watcher, store: Store, tiny_base: Base) -> None:
    before = says(watcher, tiny_base)
    version = add_adapter(store, tiny_base, 1)
    watcher.look()
    assert watcher.serving.id == 0, "a candidate does not serve"
    serve_version(store, version)
    watcher.look()
    assert watcher.serving.id == version
    assert watcher.serving.adapter_hash is not None
    after = says(watcher, tiny_base)
    assert after != before
    assert says(watcher, tiny_base, "ratchet@0") == before
    with store.session() as session:
        rollback(session, "test")
    watcher.look()
    assert says(watcher, tiny_base) == before
    assert says(watcher, tiny_base, f"ratchet@{version}") == after


def test_a_corrupt_adapter_is_refused_and_the_old_version_stays(
    watcher: Watcher, store: Store, tiny_base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = add_adapter(store, tiny_base, 1), add_adapter(store, tiny_base, 2)
    file = store.home / "versions/v2/adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    serve_version(store, good)
    watcher.look()
    serve_version(store, bad)
    with caplog.at_level(logging.ERROR):
        watcher.look()
        watcher.look()
    assert watcher.serving.id == good
    assert len(caplog.records) == 1, "said once, not at every look"
    assert f"version {bad} is refused" in caplog.text
    assert bad in watcher.refused
    assert says(watcher, tiny_base)
    with pytest.raises(UnknownModel, match="cannot be served"):
        says(watcher, tiny_base, f"ratchet@{bad}")
    file.write_bytes(whole)
    watcher._refused_at.clear()  # as if the time to try again had come
    watcher.look()
    assert (watcher.serving.id, watcher.refused) == (bad, {})


def test_a_server_that_starts_on_a_corrupt_version_serves_its_parent(
    store: Store, engine: Engine, tiny_base: Base
) -> None:
    bad = add_adapter(store, tiny_base, 3)
    (store.home / "versions/v3/adapter_model.safetensors").unlink()
    serve_version(store, bad)
    watcher = Watcher(store, OwnEngine(engine))
    watcher.first_look()
    assert watcher.serving.id == 0
    assert says(watcher, tiny_base)


def test_versions_asked_for_by_name_come_and_go(
    watcher: Watcher, engine: Engine, store: Store, tiny_base: Base
) -> None:
    made = [add_adapter(store, tiny_base, seed) for seed in range(5)]
    assert watcher.models() == ["ratchet", "ratchet@0", *(f"ratchet@{each}" for each in made)]
    spoken = []
    for each in made:
        spoken.append(says(watcher, tiny_base, f"ratchet@{each}"))
        assert len(engine.versions()) <= 1 + 2, "the base, and those kept"
        assert engine.versions() == [str(held) for held in watcher.held()]
    assert watcher.held() == [0, *made[-2:]], "those asked for last"
    serve_version(store, made[0])
    watcher.look()
    assert watcher.held() == [0, *made[-2:], made[0]]
    assert [says(watcher, tiny_base, f"ratchet@{each}") for each in made] == spoken, "loaded again where needed"
    assert set(watcher.held()) == {0, made[0], *made[-2:]}
    for name in ("gpt-4", "ratchet@", "ratchet@-1", "ratchet@1.0", "ratchet@99", "ratchet@²", f"ratchet@{9**99}"):
        with pytest.raises(UnknownModel):
            watcher.submit(name, Prompt([], [1]), GREEDY)
        with pytest.raises(UnknownModel):
            watcher.unproven(name) or watcher.submit(name, Prompt([], [1]), GREEDY)


def test_a_version_asked_for_again_is_kept_before_older_ones(watcher: Watcher, store: Store, tiny_base: Base) -> None:
    first, second, third = (add_adapter(store, tiny_base, seed) for seed in range(3))
    for each in (first, second, first, third):
        says(watcher, tiny_base, f"ratchet@{each}")
    assert watcher.held() == [0, first, third]


def test_what_serves_the_canary_and_what_answers_are_not_let_go_of(
    watcher: Watcher, store: Store, tiny_base: Base
) -> None:
    serves, trial, busy, spare, other, last = (add_adapter(store, tiny_base, seed) for seed in range(6))
    serve_version(store, serves)
    with store.session() as session:
        set_status(session, trial, "canary")
    watcher.look()
    long = Sampling(max_tokens=480, ignore_eos=True)
    answering, _ = watcher.submit(f"ratchet@{busy}", Prompt([], [5, 6]), long)
    for each in (spare, other):
        says(watcher, tiny_base, f"ratchet@{each}")
    assert set(watcher.held()) == {0, serves, trial, busy, other}
    also, _ = watcher.submit(f"ratchet@{other}", Prompt([], [5, 6]), long)
    with pytest.raises(Unavailable, match="2 versions that may be loaded are all in use"):
        says(watcher, tiny_base, f"ratchet@{last}")
    assert set(watcher.held()) == {0, serves, trial, busy, other}
    for stream in (answering, also):
        stream.cancel()
        list(stream)
    assert says(watcher, tiny_base, f"ratchet@{last}")
    assert len(watcher.held()) == 3 + 2
    serve_version(store, last)  # the canary and what served before are as the others are now
    with store.session() as session:
        set_status(session, trial, "rejected")
    watcher.look()
    assert len(watcher.held()) == 2 + 2


def test_many_callers_of_many_versions_are_all_answered(
    watcher: Watcher, engine: Engine, store: Store, tiny_base: Base
) -> None:
    """More versions than are held, asked for at the same time: each lets go of another one's, and none is refused."""
    made = [add_adapter(store, tiny_base, seed) for seed in range(5)]
    expected = {each: says(watcher, tiny_base, f"ratchet@{each}") for each in made}
    wrong: list[object] = []
    most = 0

    def call(number: int) -> None:
        nonlocal most
        draws = random.Random(number)
        for _ in range(25):
            each = draws.choice(made)
            try:
                if says(watcher, tiny_base, f"ratchet@{each}") != expected[each]:
                    wrong.append(each)
            except Unavailable:
                continue  # all that may be held were answering
            except BaseException as error:
                wrong.append(error)
            most = max(most, len(engine.versions()))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        watcher.look()
        time.sleep(0.01)  # a thread that never rests would hold Python's lock and the watcher's from all others
    assert wrong == []
    assert most <= 1 + 2


def test_the_canary_is_loaded_and_let_go(watcher: Watcher, store: Store, tiny_base: Base) -> None:
    assert watcher.canary is None
    trial = add_adapter(store, tiny_base, 6, status="canary")
    watcher.look()
    assert watcher.canary is not None
    assert watcher.canary.id == trial
    assert watcher.serving.id == 0
    serve_version(store, trial)
    watcher.look()
    assert (watcher.serving.id, watcher.canary) == (trial, None)


def test_a_running_chat_swaps_and_drops_no_stream(tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, ChatSettings()) as chat:
        version = add_adapter(chat.store, tiny_base, 9)
        ended: list[tuple[int | None, str, int]] = []
        go_on = threading.Event()
        go_on.set()

        def talk(number: int) -> None:
            while go_on.is_set():
                answer = chat.ask(user=f"t{number}", ignore_eos=True, max_tokens=100).json()
                kept = chat.generation(answer["id"])
                ended.append((kept.version_id, kept.finish_reason, len(kept.token_ids)))

        talkers = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        for talker in talkers:
            talker.start()
        until(lambda: len(ended) >= 4)
        serve_version(chat.store, version)
        until(lambda: chat.client.get("/healthz").json()["version"] == version)
        seen = len(ended)
        until(lambda: len(ended) >= seen + 8)
        go_on.clear()
        for talker in talkers:
            talker.join()
    assert {(reason, length) for _, reason, length in ended} == {("length", 100)}, "no stream was dropped"
    assert {version_id for version_id, _, _ in ended} == {0, version}


def test_a_stream_keeps_the_version_it_began_with(tmp_path: Path, tiny_base: Base) -> None:
    settings = ChatSettings(poll_seconds=0.02, loaded_versions=1)
    with running_chat(tmp_path, tiny_base, settings, pause=0.005) as chat:  # 480 tokens take 2.4 s at least
        versions = [add_adapter(chat.store, tiny_base, seed) for seed in (1, 2, 3)]
        fields = {"ignore_eos": True, "max_tokens": 480, "temperature": 0, "user": "Keeper"}
        serve_version(chat.store, versions[0])
        until(lambda: chat.client.get("/healthz").json()["version"] == versions[0])
        alone = chat.generation(chat.ask(**fields).json()["id"])
        body = {"messages": [{"role": "user", "content": "Where is my parcel?"}], "stream": True} | fields
        with chat.client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            for version in versions[1:]:  # away from it twice, so that it is no longer held
                serve_version(chat.store, version)
                until(lambda version=version: chat.service.watcher.serving.id == version)  # type: ignore[misc]
            assert chat.service.under_way == 1, "the stream outlives both swaps"
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        meanwhile = chat.generation(str(rest[0].split('"id": "')[1].split('"')[0]))
        assert (meanwhile.version_id, meanwhile.token_ids) == (versions[0], alone.token_ids)
        assert chat.generation(chat.ask().json()["id"]).version_id == versions[2]
