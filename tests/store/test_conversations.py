from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from problems import Problem
from store.conversations import (
    add_message,
    conversations_of,
    messages_of,
    new_conversation,
    path_to,
    person,
    person_called,
    record_generation,
    set_consent,
)
from store.database import Store
from store.schema import Generation


def test_a_person_is_found_by_id_or_name_and_made_when_new(store: Store) -> None:
    with store.session() as session:
        ann = person(session, None, "ann")
        assert person(session, None, "ann").id == ann.id
        assert person(session, ann.id).name == "ann"
        assert person(session, "from-outside").id == "from-outside"
        assert person(session, None).id != person(session, None).id
        assert ann.consent


def test_an_id_comes_before_a_name(store: Store) -> None:
    with store.session() as session:
        ann = person_called(session, "ann")
        assert ann.name == "ann"
        assert person_called(session, "ann").id == ann.id
        assert person_called(session, ann.id).id == ann.id
        named_like_an_id = person(session, None, ann.id)
        assert person_called(session, ann.id).id == ann.id != named_like_an_id.id
        with pytest.raises(Problem):
            person_called(session, "nul \0")


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "half \ud800", "nul \0"])
def test_a_name_that_is_empty_long_or_not_text_is_refused(store: Store, name: str) -> None:
    with store.session() as session:
        with pytest.raises(Problem):
            person(session, None, name)
        with pytest.raises(Problem):
            person(session, name)


def test_regenerated_answers_are_siblings_and_a_path_is_one_branch(store: Store) -> None:
    with store.session() as session:
        conversation = new_conversation(session, person(session, None, "ann").id, "page")
        question = add_message(session, conversation.id, None, "user", "Hello?")
        first = add_message(session, conversation.id, question.id, "assistant", "Hi.")
        second = add_message(session, conversation.id, question.id, "assistant", "Good day.")
        follow = add_message(session, conversation.id, second.id, "user", "Thanks.")
    with store.session(reading=True) as session:
        assert [each.content for each in path_to(session, follow.id)] == ["Hello?", "Good day.", "Thanks."]
        assert [each.id for each in path_to(session, first.id)] == [question.id, first.id]
        assert [each.id for each in messages_of(session, conversation.id)] == [
            question.id,
            first.id,
            second.id,
            follow.id,
        ]


def test_conversations_of_one_person_newest_first(store: Store) -> None:
    with store.session() as session:
        ann, bob = person(session, None, "ann").id, person(session, None, "bob").id
        made = [new_conversation(session, ann, "page").id for _ in range(3)]
        new_conversation(session, bob, "api")
        assert [each.id for each in conversations_of(session, ann)] == made[::-1]


def test_a_parent_of_another_conversation_is_refused(store: Store) -> None:
    with store.session() as session:
        ann = person(session, None, "ann").id
        one, two = new_conversation(session, ann, "page"), new_conversation(session, ann, "page")
        question = add_message(session, one.id, None, "user", "Hello?")
        with pytest.raises(Problem, match="another conversation"):
            add_message(session, two.id, question.id, "assistant", "Hi.")


def test_unknown_ids_roles_and_surfaces_are_refused(store: Store) -> None:
    with store.session() as session:
        ann = person(session, None, "ann").id
        conversation = new_conversation(session, ann, "page").id
        for call in (
            lambda: new_conversation(session, "nobody", "page"),
            lambda: new_conversation(session, ann, "radio"),
            lambda: add_message(session, "nowhere", None, "user", "Hello?"),
            lambda: add_message(session, conversation, "nothing", "user", "Hello?"),
            lambda: add_message(session, conversation, None, "parrot", "Hello?"),
            lambda: add_message(session, conversation, None, "assistant", "Hi.", "gen-0"),
            lambda: path_to(session, "nothing"),
            lambda: path_to(session, "\udfff"),
            lambda: path_to(session, "\0"),
            lambda: set_consent(session, "nobody", False),
        ):
            with pytest.raises(Problem):
                call()


def generation(**changes: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "Hello?"}],
        "version_id": None,
        "adapter_hash": None,
        "sampling": {"temperature": 0.7, "seed": 2**70},
        "token_ids": [3, 1, 2],
        "logprobs": [-0.1, -1e-12, -17.123456789012345],
        "text": "Hi.",
        "finish_reason": "stop",
        "surface": "api",
        "latency": 0.25,
        "pair": "abc",
        "side": "left",
        "propensity": 0.5,
        "draw": "thompson",
    } | changes


def test_a_generation_keeps_all_that_made_it_exactly(store: Store) -> None:
    wanted = generation()
    with store.session() as session:
        ann = person(session, None, "ann").id
        conversation = new_conversation(session, ann, "api").id
        made = record_generation(session, person_id=ann, conversation_id=conversation, **wanted).id
    assert made.startswith("gen-")
    assert len(made) == 28
    with store.session(reading=True) as session:
        found = session.get(Generation, made)
        assert found is not None
        assert {key: getattr(found, key) for key in wanted} == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"version_id": 5},
        {"surface": "radio"},
        {"side": "top"},
        {"draw": "dice"},
        {"text": "\ud800"},
        {"messages": [{"role": "user", "content": "a \udc00"}]},
        {"messages": [{"role": "user", "content": [{"text": "\udc00"}]}]},
        {"sampling": {"stop": ["\ud800"]}},
        {"text": "a\0b"},
        {"sampling": {"stop": ["\0"]}},
        {"logprobs": [-0.1]},
        {"logprobs": [-0.1, float("-inf"), -0.2]},
    ],
)
def test_a_generation_that_cannot_be_kept_whole_is_refused(store: Store, changes: dict[str, Any]) -> None:
    with store.session() as session:
        ann = person(session, None, "ann").id
        conversation = new_conversation(session, ann, "api").id
        with pytest.raises(Problem):
            record_generation(session, person_id=ann, conversation_id=conversation, **generation(**changes))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(st.characters(), max_size=40) | st.text(st.characters(categories=["Cs", "Cc"]), max_size=3))
def test_any_text_comes_back_as_it_went_in_or_is_refused(store: Store, content: str) -> None:
    storable = not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in content)
    with store.session() as session:
        ann = person(session, "ann").id
        conversation = new_conversation(session, ann, "api").id
        if not storable:
            with pytest.raises(Problem, match=r"surrogate|NUL"):
                add_message(session, conversation, None, "user", content)
            return
        message = add_message(session, conversation, None, "user", content).id
        made = record_generation(
            session,
            person_id=ann,
            conversation_id=conversation,
            **generation(text=content, messages=[{"role": "user", "content": content}]),
        ).id
    with store.session(reading=True) as session:
        assert path_to(session, message)[0].content == content
        found = session.get(Generation, made)
        assert found is not None
        assert found.text == found.messages[0]["content"] == content
