"""Many strangers of one rating each, all against what the honest say: put into a store, frozen, fitted, and told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy.orm import Session

from reward.evidence import evidence_from
from reward.fit import fit_heads
from reward.judges import judges
from reward.settings import RewardSettings, dataset_knobs
from rl.gate import newcomers_check
from store.conversations import new_conversation, person, record_generation
from store.database import Store, open_store
from store.datasets import freeze
from store.frozen import Frozen
from store.ratings import rate
from store.versions import ensure_base

WIDTH = 12  # of the features; people like answers whose first one is large
HONEST, EACH, STRANGERS = 20, 8, 200


def look(text: str) -> torch.Tensor:
    """The features of an answer, by its number."""
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(int(text)))


def compare(session: Session, name: str, number: int, turned: bool) -> None:
    """Somebody compares the answers 2 n and 2 n + 1 to a question of their own, rightly or turned round."""
    who = person(session, None, name).id
    talk = new_conversation(session, who, "page").id
    texts = str(2 * number), str(2 * number + 1)
    shown = [
        record_generation(
            session, person_id=who, conversation_id=talk, messages=[{"role": "user", "content": f"Question {number}"}],
            version_id=0, adapter_hash=None, sampling={}, token_ids=[1], logprobs=[0.0], text=text,
            finish_reason="stop", surface="page", latency=0.1,
        ).id
        for text in texts
    ]  # fmt: skip
    first = bool(look(texts[0])[0] > look(texts[1])[0]) != turned
    verdict = "left" if first else "right"
    rate(session, generation_id=shown[0], person_id=who, kind="pair", value=verdict, other=shown[1], surface="page")


@pytest.fixture(params=["after", "before"])
def besieged(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Twenty honest people and two hundred strangers, who come after or before them."""
    store = open_store(tmp_path / "home")
    honest = [(f"honest {number % HONEST}", False) for number in range(HONEST * EACH)]
    strangers = [(f"stranger {number}", True) for number in range(STRANGERS)]
    order = honest + strangers if request.param == "after" else strangers + honest
    with store.session() as session:
        ensure_base(session, "tiny", "0")
        for number, (name, turned) in enumerate(order):
            compare(session, name, number, turned)
    yield store
    store.close()


def frozen(store: Store, share: float) -> Frozen:
    knobs = dataset_knobs(RewardSettings(newcomer_share=share)) | {"scrub": False}
    with store.session(reading=True) as session:
        return freeze(session, seed=0, **knobs)


def right(dataset: Frozen) -> tuple[float, set[str]]:
    """Share of new answers that the reward orders as the honest would, and who looks suspicious."""
    evidence = evidence_from(dataset, "train")
    features = torch.stack([look(text) for text in evidence.texts])
    tokens = torch.full((len(evidence.texts),), 20.0)
    fitted = fit_heads(features, tokens, evidence, RewardSettings())
    fresh = torch.randn(2000, WIDTH, generator=torch.Generator().manual_seed(10**6))
    reward = fitted.heads(fresh, torch.full((2000,), 20.0), "drop").mean(0)
    agreed = (reward[::2] > reward[1::2]) == (fresh[::2, 0] > fresh[1::2, 0])
    named = {each.person for each in judges(fitted.people, fitted.together, evidence) if each.suspicions}
    return float(agreed.float().mean()), named


def test_two_hundred_strangers_do_not_turn_the_reward_round_and_report_and_gate_say_so(besieged: Store) -> None:
    bounded, unbounded = frozen(besieged, RewardSettings().newcomer_share), frozen(besieged, 1.0)
    agreed, named = right(bounded)
    assert agreed > 0.85
    assert right(unbounded)[0] < 0.5, "without the bound the attack works, so this test tells something"
    with besieged.session(reading=True) as session:
        honest = {person(session, None, f"honest {number}").id for number in range(HONEST)}
    assert not named & honest, "the honest are not the flagged ones"
    check = newcomers_check(bounded, RewardSettings().newcomer_share)
    assert check.passed
    assert f"{bounded.people['new']} of {bounded.people['people']} people are new" in check.why
    assert not newcomers_check(unbounded, RewardSettings().newcomer_share).passed
