"""What tests of updates share: the smallest settings, and a store in which people prefer short answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lm.loading import Base
from lm.suites import Item, write_suite
from reward.rule_settings import read_rules
from reward.settings import RewardSettings
from rl.settings import AnchorSettings, GateSettings, PPOSettings, StoppingSettings, UpdateSettings
from rl.workspace import Knobs
from store.conversations import new_conversation, person, record_generation
from store.database import Store, open_store
from store.ratings import rate
from store.versions import ensure_base

SHORT, LONG = "On Monday.", "Please let me tell you that it left the warehouse on Monday and arrives on Thursday."


@pytest.fixture
def knobs(tmp_path: Path) -> Knobs:
    """The smallest settings that go through every part of an update."""
    suite = tmp_path / "suite.jsonl"
    questions = [Item("echo", [{"role": "user", "content": f"Say {i}"}], ["no such answer"], "exact") for i in range(4)]
    write_suite(suite, questions)
    return Knobs(
        reward=RewardSettings(heads=2, context=96, rules=read_rules([{"kind": "length", "maximum": 3}])),
        ppo=PPOSettings(
            updates=2,
            episodes=8,
            minibatch=4,
            epochs=1,
            max_tokens=8,
            prompt_tokens=64,
            rank=2,
            value_warmup=0,
            save_every=1,
        ),
        anchor=AnchorSettings(strength=300.0, samples=8, batch=4, replay=0.1, share=0.5),
        stopping=StoppingSettings(every=1, patience=99, skill_items=2, answers=2),
        gate=GateSettings(win_prompts=8, skill_items=4),
        update=UpdateSettings(min_ratings=10, suite=str(suite)),
    )


@pytest.fixture
def store(tmp_path: Path, tiny_base: Base) -> Iterator[Store]:
    """A store in which somebody prefers short answers, in 30 conversations."""
    opened = open_store(tmp_path / "home")
    fill(opened, tiny_base)
    yield opened
    opened.close()


def fill(store: Store, base: Base, conversations: int = 30) -> None:
    with store.session() as session:
        ensure_base(session, base.id, base.fingerprint)
        ann = person(session, None, "ann")
        for i in range(conversations):
            conversation = new_conversation(session, ann.id, "api")
            answers = [
                record_generation(
                    session,
                    person_id=ann.id,
                    conversation_id=conversation.id,
                    messages=[{"role": "user", "content": f"Where is parcel {i}?"}],
                    version_id=0,
                    adapter_hash=None,
                    sampling={"temperature": 1.0},
                    token_ids=[1],
                    logprobs=[-1.0],
                    text=text,
                    finish_reason="stop",
                    surface="api",
                    latency=0.1,
                )
                for text in (SHORT, LONG)
            ]
            rate(
                session,
                generation_id=answers[0].id,
                person_id=ann.id,
                kind="pair",
                value="left",
                other=answers[1].id,
                surface="api",
            )
