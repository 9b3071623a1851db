"""How an update is left: failed, discarded, rejected before training, or with a candidate that waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import rl.update
from lm.loading import Base
from problems import Problem
from rl.update import run_update
from rl.workspace import Knobs
from store.conversations import new_conversation, person, record_generation
from store.database import Store
from store.people import erase, find_person
from store.ratings import rate
from store.updates import list_updates, unfinished
from store.versions import add_version, list_versions, promote, serving

SYSTEM = [{"role": "system", "content": "Lamps are red. " * 60}, {"role": "user", "content": "Which lamp?"}]


def one_more(store: Store, messages: list[dict[str, Any]], who: str = "bob") -> str:
    """A thumb on one more answer; its conversation."""
    with store.session() as session:
        asker = person(session, None, who).id
        conversation = new_conversation(session, asker, "api").id
        answer = record_generation(
            session, person_id=asker, conversation_id=conversation, messages=messages, version_id=0, adapter_hash=None,
            sampling={}, token_ids=[1], logprobs=[-1.0], text="The red one.", finish_reason="stop", surface="api",
            latency=0.1,
        )  # fmt: skip
        rate(session, generation_id=answer.id, person_id=asker, kind="thumb", value=1, surface="api")
    return conversation


def broken(error: Exception) -> Any:
    def step(*_: object, **__: object) -> None:
        raise error

    return step


def verdicts(store: Store) -> list[str | None]:
    with store.session(reading=True) as session:
        return [row.verdict for row in list_updates(session)]


def test_a_failure_that_would_come_again_ends_the_update_and_the_next_begins_with_what_is_there_then(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(rl.update, "fit_reward", broken(Problem("No two ratings agree.", hint="Rate more.")))
        with pytest.raises(Problem, match="No two ratings agree") as failed:
            run_update(store, tiny_base, knobs)
    assert failed.value.data == {"update": 1, "verdict": "failed", "step": "reward", "why": "No two ratings agree."}
    assert "Rate more. Update 1 has ended as failed" in failed.value.hint
    assert verdicts(store) == ["failed"]
    one_more(store, [{"role": "user", "content": "Which lamp?"}])
    seen: list[tuple[int, int]] = []

    def noted(base: Base, frozen: Any, settings: Any, *_: object) -> None:
        seen.append((frozen.ratings, settings.heads))
        raise ConnectionError("pulled the plug")

    monkeypatch.setattr(rl.update, "fit_reward", noted)
    with pytest.raises(ConnectionError):
        run_update(store, tiny_base, replace(knobs, reward=replace(knobs.reward, heads=3)))
    assert seen == [(31, 3)]
    assert verdicts(store) == ["failed", None]


def test_an_unhandled_exception_is_tried_once_more(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rl.update, "fit_reward", broken(KeyError("dataset")))
    with pytest.raises(KeyError):
        run_update(store, tiny_base, knobs)
    assert verdicts(store) == [None]
    with pytest.raises(Problem, match="KeyError: 'dataset'"):
        run_update(store, tiny_base, knobs)
    assert verdicts(store) == ["failed"]


def test_after_an_erasure_has_failed_an_open_update_the_next_one_runs(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_more(store, [{"role": "user", "content": "Which lamp?"}])
    monkeypatch.setattr(rl.update, "fit_reward", broken(ConnectionError("pulled the plug")))
    with pytest.raises(ConnectionError):
        run_update(store, tiny_base, knobs)
    with store.session(reading=True) as session:
        bob = find_person(session, "bob").id
    erase(store, bob)
    assert verdicts(store) == ["failed"]
    with pytest.raises(ConnectionError):  # it gets as far as the one before, not to a KeyError
        run_update(store, tiny_base, knobs)
    assert verdicts(store) == ["failed", None]


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("ppo", {"minibatch": 3}, "ppo.minibatch"),
        ("ppo", {"max_tokens": 512}, "no room for"),
        ("update", {"suite": "nowhere.jsonl"}, "cannot be read"),
        ("update", {"min_free_disk": 1e9}, "GB are free"),
        ("gate", {"min_reward_accuracy": 0.999}, "could not show it"),
        ("reward", {"holdout_share": 0.0}, "holdout split"),
    ],
)
def test_what_can_be_seen_before_is_said_before_a_row_is_opened(
    store: Store, tiny_base: Base, knobs: Knobs, section: str, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Problem, match=said):
        run_update(store, tiny_base, replace(knobs, **{section: replace(getattr(knobs, section), **change)}))
    assert verdicts(store) == []


def test_a_reward_model_that_may_not_judge_ends_the_update_before_training(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for later in ("measure_anchor", "compare"):
        monkeypatch.setattr(rl.update, later, broken(AssertionError(later)))
    monkeypatch.setattr(rl.update, "reward_check", lambda *_: replace(CHANCE))
    report = run_update(store, tiny_base, knobs)
    assert (report.verdict, report.version) == ("rejected", None)
    assert [(check.name, check.passed) for check in report.checks] == [("reward_model", False), ("new_people", True)]
    assert "nothing was trained" in report.why
    assert run_update(store, tiny_base, knobs).verdict == "nothing"  # the same ratings say the same


CHANCE = rl.update.Check("reward_model", 0.5, 0.5, False, "it guesses", 40)


def test_a_candidate_waits_when_somebody_else_was_promoted_meanwhile(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object) -> list[Any]:
        with store.session() as session:
            other = add_version(
                session, parent=0, adapter="x", adapter_hash="h", update_id=None, dataset_hash=None, report={}
            )
            promote(session, other.id, "ann", "by hand")
        return []

    monkeypatch.setattr(rl.update, "comparison_checks", meanwhile)
    report = run_update(store, tiny_base, knobs)
    assert report.verdict == "candidate", report
    assert "version 1 serves by now" in report.why
    with store.session(reading=True) as session:
        assert serving(session).id == 1
        assert [each.status for each in list_versions(session)] == ["base", "promoted", "candidate"]
        assert unfinished(session) is None


def test_an_unreadable_row_is_left_out_and_named_and_the_others_train(
    store: Store, tiny_base: Base, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = one_more(store, SYSTEM)
    monkeypatch.setattr(rl.update, "reward_check", lambda *_: CHANCE)
    report = run_update(store, tiny_base, knobs)
    (left_out,) = report.left_out
    assert (left_out["conversation"], left_out["ratings"], left_out["rows"]) == (conversation, [31], 2)
    assert "raise ppo.prompt_tokens" in left_out["reason"]
    strict = replace(knobs, update=replace(knobs.update, max_left_out=0.0))
    with pytest.raises(Problem, match=conversation):
        run_update(store, tiny_base, strict, force=True)
    assert verdicts(store) == ["rejected"]
