from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from store.conversations import set_consent
from store.database import Store, open_store
from store.datasets import freeze
from store.frozen import Frozen
from store.holdout import split_of
from store.schema import Generation, Rating, present_ratings

from .conftest import Scene

ROOT = Path(__file__).parents[2]


def frozen(store: Store, seed: int = 0, holdout_share: float = 0.15) -> Frozen:
    with store.session(reading=True) as session:
        return freeze(session, seed=seed, holdout_share=holdout_share)


def told(dataset: Frozen) -> set[tuple[str, str, float, str]]:
    return {(pair.first, pair.second, pair.outcome, pair.kind) for pair in dataset.pairs}


def thumbs(dataset: Frozen) -> set[tuple[str, bool, str]]:
    return {(thumb.answer, thumb.liked, thumb.kind) for thumb in dataset.thumbs}


def opening_on(side: str, share: float, nth: int = 0) -> str:
    """A question that falls on that side."""
    words = (f"Question {hashlib.sha256(str(number).encode()).hexdigest()[:16]}" for number in range(1000))
    return [word for word in words if split_of(word, share, "") == side][nth]


def test_repeats_of_an_opening_fall_on_one_side_whatever_follows(scene: Scene) -> None:
    ann = scene.person("ann")
    for number in range(40):
        words = hashlib.sha256(str(number).encode()).hexdigest()[:16]  # else one question would be nearly the next
        opening = {"role": "user", "content": f"Question {number} {words}"}
        again = {"role": "user", "content": f"  QUESTION\n{number} {words.upper()} "}
        turns = [opening, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "And?"}]
        for messages in ([opening], [again], turns, [{"role": "system", "content": "Be kind."}, opening]):
            scene.rate(scene.answer(ann, messages, "a"), ann, "thumb", 1)
    dataset = frozen(scene.store, holdout_share=0.3)
    sides: dict[int, set[str]] = {}
    for thumb in dataset.thumbs:
        opening_text = next(turn["content"] for turn in thumb.messages if turn["role"] == "user")
        sides.setdefault(int(opening_text.split()[1]), set()).add(thumb.split)
    assert len(sides) == 40
    assert all(len(each) == 1 for each in sides.values())
    assert {"train", "holdout"} == set.union(*sides.values())


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        ("left", ("one", "two", 1.0, "pair")),
        ("right", ("two", "one", 1.0, "pair")),
        ("tie", ("one", "two", 0.5, "pair")),
        ("both_bad", ("one", "two", 0.0, "pair")),
    ],
)
def test_a_pair_is_ordered_by_its_verdict(scene: Scene, value: str, pair: tuple[str, str, float, str]) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "one"), ann, "pair", value, scene.answer(ann, "Q", "two"))
    dataset = frozen(scene.store)
    assert told(dataset) == {pair}
    assert dataset.thumbs == []


@pytest.mark.parametrize(("value", "kept"), [("left", 0), ("tie", 0), ("both_bad", 1)])
def test_equal_answers_tell_nothing_unless_neither_would_do(scene: Scene, value: str, kept: int) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "same"), ann, "pair", value, scene.answer(ann, "Q", "same"))
    dataset = frozen(scene.store)
    assert (len(dataset.pairs), dataset.left_out.get("same text", 0)) == (kept, 1 - kept)


@pytest.mark.parametrize(
    ("one", "two", "draw"),
    [
        ("thompson", "thompson", "thompson"),
        ("uniform", "uniform", "uniform"),
        ("thompson", "uniform", "uniform"),
        ("thompson", None, "uniform"),
        (None, "thompson", "uniform"),
        (None, None, "uniform"),
    ],
)
def test_a_pair_was_drawn_as_both_halves_say(scene: Scene, one: str | None, two: str | None, draw: str) -> None:
    ann = scene.person("ann")
    first, second = scene.answer(ann, "Q", "one", draw=one), scene.answer(ann, "Q", "two", draw=two)
    scene.rate(first, ann, "pair", "right", second)
    assert [pair.draw for pair in frozen(scene.store).pairs] == [draw]
    bob = scene.person("bob")
    scene.rate(first, bob, "correction", "better")
    scene.rate(first, bob, "thumb", 1)
    scene.rate(second, bob, "thumb", -1)
    others = {pair.kind: pair.draw for pair in frozen(scene.store).pairs if pair.person == bob}
    assert others == {"correction": "uniform", "thumbs": "uniform"}


TAGS = st.lists(st.sampled_from(["Too long", "Wrong", "太长"]), max_size=4)
SAID = st.one_of(
    st.tuples(st.just("thumb"), st.sampled_from([1, -1])),
    st.tuples(st.just("score"), st.integers(1, 10)),
    st.tuples(st.just("tags"), TAGS),
    st.tuples(st.just("comment"), st.just("hm")),
    st.tuples(st.just("correction"), st.just("better")),
    st.tuples(st.just("pair"), st.sampled_from(["left", "right", "tie", "both_bad"])),
)
OPINIONS = st.lists(
    st.tuples(st.sampled_from(["ann", "bob"]), st.integers(0, 2), SAID, st.integers(0, 2), st.booleans()), max_size=12
)


@settings(max_examples=25, deadline=None)
@given(events=OPINIONS)
def test_every_present_opinion_is_one_row_of_its_own_kind(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, tuple[str, Any], int, bool]]
) -> None:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as store:
        scene = Scene(store)
        scene.play(events)
        with store.session(reading=True) as session:
            texts = {each.id: each.text for each in session.scalars(select(Generation))}
            present = list(
                session.scalars(select(Rating).join(present_ratings, present_ratings.c.id == Rating.id)).all()
            )
        dataset = frozen(store, holdout_share=0.0)
        own: dict[str, list[tuple[Any, ...]]] = {
            "thumb": [(row.person, row.answer, 1 if row.liked else -1) for row in dataset.thumbs],
            "score": [(row.person, row.answer, row.score) for row in dataset.scores],
            "tags": [(row.person, row.answer, tuple(row.tags)) for row in dataset.tags],
            "correction": [(row.person, row.second, row.first) for row in dataset.pairs if row.kind == "correction"],
            "pair": [(row.person, row.first, row.second, row.outcome) for row in dataset.pairs if row.kind == "pair"],
        }
        wanted: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in own}
        for each in present:
            text = texts[each.generation_id]
            if each.kind == "pair":
                shown = (text, texts[str(each.other_id)])
                outcome = {"tie": 0.5, "both_bad": 0.0}.get(each.value, 1.0)
                wanted["pair"].append((each.person_id, *(shown[::-1] if each.value == "right" else shown), outcome))
            elif each.kind == "tags" and each.value:
                wanted["tags"].append((each.person_id, text, tuple(sorted(set(each.value)))))
            elif each.kind in ("thumb", "score", "correction"):
                wanted[each.kind].append((each.person_id, text, each.value))
        assert {kind: sorted(rows) for kind, rows in own.items()} == {
            kind: sorted(rows) for kind, rows in wanted.items()
        }
        thumbs_pairs = sum(row.kind == "thumbs" for row in dataset.pairs)
        assert dataset.ratings == sum(map(len, wanted.values())) + thumbs_pairs


def test_scores_and_tags_are_frozen_as_they_were_given(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    answer = scene.answer(ann, "Q", "a")
    scene.rate(answer, ann, "score", 3)
    scene.rate(answer, ann, "tags", ["Wrong", "Too long", "Wrong"])
    scene.rate(answer, bob, "tags", ["Wrong"])
    scene.rate(answer, bob, "tags", [])
    dataset = frozen(scene.store)
    assert [(row.messages, row.answer, row.score, row.person) for row in dataset.scores] == [
        ([{"role": "user", "content": "Q"}], "a", 3, ann)
    ]
    assert [(row.answer, row.tags, row.person) for row in dataset.tags] == [("a", ["Too long", "Wrong"], ann)]
    assert (dataset.pairs, dataset.thumbs, dataset.left_out, dataset.ratings) == ([], [], {}, 2)


def test_a_correction_is_better_than_what_it_corrects(scene: Scene) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "wrong"), ann, "correction", "right")
    scene.rate(scene.answer(ann, "Q", "fine"), ann, "correction", "fine")
    dataset = frozen(scene.store)
    assert told(dataset) == {("right", "wrong", 1.0, "correction")}
    assert dataset.left_out == {"same text": 1}


def test_opposite_thumbs_of_one_person_on_siblings_are_a_pair_too(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    good, bad, other = scene.answer(ann, "Q", "good"), scene.answer(ann, "Q", "bad"), scene.answer(ann, "R", "other")
    scene.rate(good, ann, "thumb", 1)
    scene.rate(bad, ann, "thumb", -1)
    scene.rate(other, ann, "thumb", -1)
    scene.rate(good, bob, "thumb", 1)
    dataset = frozen(scene.store)
    assert told(dataset) == {("good", "bad", 1.0, "thumbs")}
    assert len(dataset.pairs) == 1
    assert [(each.person, each.answer) for each in dataset.thumbs if each.liked].count((bob, "good")) == 1
    assert len(dataset.thumbs) == 4
    scene.rate(bad, ann, "thumb", 1)
    assert told(frozen(scene.store)) == set()


def test_only_present_opinions_on_answers_with_a_text_count(scene: Scene) -> None:
    ann = scene.person("ann")
    empty, taken_back, kept = (scene.answer(ann, "Q", text) for text in (" \n", "taken back", "kept"))
    for answer in (empty, taken_back, kept):
        scene.rate(answer, ann, "thumb", -1)
    scene.rate(kept, ann, "thumb", 1)
    scene.withdraw(taken_back, ann, "thumb")
    scene.rate(kept, ann, "pair", "left", empty)
    dataset = frozen(scene.store)
    assert thumbs(dataset) == {("kept", True, "thumb")}
    assert told(dataset) == set()


def test_answers_to_different_prompts_are_no_pair(scene: Scene) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "one"), ann, "pair", "left", scene.answer(ann, "R", "two"))
    dataset = frozen(scene.store)
    assert (dataset.pairs, dataset.left_out) == ([], {"different prompts": 1})


def test_people_without_consent_are_kept_out_as_raters_and_as_writers(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    of_ann, of_bob = scene.answer(ann, "asked by ann", "a"), scene.answer(bob, "asked by bob", "b")
    also_ann = scene.answer(ann, "asked by ann", "c")
    for rater in (ann, bob):
        scene.rate(of_ann, rater, "thumb", 1)
        scene.rate(of_bob, rater, "thumb", 1)
        scene.rate(of_bob, rater, "score", 2)
        scene.rate(of_bob, rater, "tags", ["kind"])
    scene.rate(of_ann, ann, "pair", "left", also_ann)
    before = frozen(scene.store)
    assert (len(before.thumbs), len(before.scores), len(before.tags)) == (4, 2, 2)
    with scene.store.session() as session:
        set_consent(session, bob, False)
    dataset = frozen(scene.store)
    assert [(each.person, each.answer) for each in dataset.thumbs] == [(ann, "a")]
    assert (dataset.scores, dataset.tags) == ([], [])
    assert [each.messages[0]["content"] for each in dataset.prompts] == ["asked by ann"]
    assert len(dataset.pairs) == 1


@pytest.mark.parametrize("silent", ["owner", "asker"])
def test_whose_conversation_it_is_and_who_asked_both_decide(scene: Scene, silent: str) -> None:
    people = {name: scene.person(name) for name in ("owner", "asker", "rater")}
    conversation = scene.conversation(people["owner"])
    scene.rate(scene.answer(people["asker"], "Q", "a", conversation), people["rater"], "thumb", 1)
    assert len(frozen(scene.store).thumbs) == len(frozen(scene.store).prompts) == 1
    with scene.store.session() as session:
        set_consent(session, people[silent], False)
    dataset = frozen(scene.store)
    assert (dataset.thumbs, dataset.prompts) == ([], [])


def test_prompts_are_distinct_and_need_no_rating(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    scene.answer(ann, "Q", "one")
    scene.answer(bob, "Q", "two")
    scene.answer(bob, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Q"}], "three")
    dataset = frozen(scene.store)
    assert sorted((len(each.messages), each.person) for each in dataset.prompts) == [(1, ann), (2, bob)]


def test_personal_data_is_learned_as_placeholders(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    said = "Write to ann.berg@example.org about order 4821."
    one, two = scene.answer(ann, said, "I wrote to ann.berg@example.org."), scene.answer(ann, said, "Done.")
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(two, ann, "thumb", 1)
    scene.rate(one, ann, "score", 2)
    scene.rate(one, ann, "tags", ["z", "tell a@example.org", "tell b@example.org"])
    with scene.store.session(reading=True) as session:
        plain, clean = freeze(session, seed=0), freeze(session, seed=0, scrub=True)
    assert plain.scrubbed == {}
    assert "@" not in json.dumps([vars(row) for rows in clean.by_kind().values() for row in rows])
    assert clean.scores[0].answer == clean.tags[0].answer == "I wrote to <EMAIL>."
    assert clean.tags[0].tags == ["tell <EMAIL>", "z"]
    assert clean.pairs[0].first == "I wrote to <EMAIL>."
    assert clean.pairs[0].messages[0]["content"] == "Write to <EMAIL> about order 4821."
    assert clean.scrubbed == {
        "first": {"email": 1},
        "answer": {"email": 2},
        "tags": {"email": 2},
        "messages": {"email": 5},
    }
    assert (clean.pairs[0].split, clean.hash != plain.hash) == (plain.pairs[0].split, True)
    clean.to_json(tmp_path / "dataset")
    assert Frozen.from_json(tmp_path / "dataset") == clean


@pytest.mark.parametrize(("kind", "value"), [("thumb", 1), ("score", 4), ("tags", ["kind"])])
def test_one_person_s_share_of_a_kind_is_capped(scene: Scene, kind: str, value: object) -> None:
    people = [scene.person(name) for name in ("ann", "bob", "cem", "dora")]
    for count, each in zip((30, 4, 3, 3), people, strict=True):
        for _ in range(count):
            number = scene.events()
            scene.rate(scene.answer(each, opening_on("train", 0.15, number), f"a{number}"), each, kind, value)

    def by_person(share: float) -> list[int]:
        with scene.store.session(reading=True) as session:
            dataset = freeze(session, seed=0, person_share=share)
        rows = [row for name, rows in dataset.by_kind().items() if name != "prompts" for row in rows]
        return [sum(row.person == each for row in rows) for each in people]

    assert by_person(1.0) == [30, 4, 3, 3]
    assert by_person(0.5) == [10, 4, 3, 3]
    assert by_person(0.01) == [3, 3, 3, 3]


def test_whoever_rated_alone_keeps_their_rows_when_a_guest_rates_once(scene: Scene) -> None:
    ann, guest = scene.person("ann"), scene.person("guest")
    for number in range(31):
        who = guest if number == 30 else ann
        scene.rate(scene.answer(who, opening_on("train", 0.15, number), f"a{number}"), who, "thumb", 1)
    with scene.store.session(reading=True) as session:
        assert len(freeze(session, seed=0, person_share=0.3).thumbs) == 31


def test_same_store_same_seed_same_hash_and_more_rows_another(scene: Scene) -> None:
    ann = scene.person("ann")
    for number in range(12):
        scene.rate(scene.answer(ann, f"Q{number}", f"a{number}"), ann, "thumb", 1)
    first = frozen(scene.store, seed=1)
    assert frozen(scene.store, seed=1) == first
    other = frozen(scene.store, seed=2)
    assert other.hash != first.hash
    assert [each.answer for each in other.thumbs] != [each.answer for each in first.thumbs]
    scene.person("bob")
    scene.rate(scene.answer(ann, "Q0", "a0"), ann, "comment", "not frozen")
    assert frozen(scene.store, seed=1).hash == first.hash
    hashes = {first.hash}
    for kind, value in (("thumb", 1), ("score", 5), ("tags", ["kind"])):
        scene.rate(scene.answer(ann, "Q0", "a0"), ann, kind, value)
        hashes.add(frozen(scene.store, seed=1).hash)
    assert len(hashes) == 4


def test_another_process_finds_the_same_hash(scene: Scene, url: str | None) -> None:
    ann = scene.person("ann")
    for number in range(5):
        scene.rate(scene.answer(ann, f"Q{number}", "é\u2028\x85"), ann, "thumb", 1)
    program = (
        "import sys; from pathlib import Path\n"
        "from store.database import open_store; from store.datasets import freeze\n"
        "store = open_store(Path(sys.argv[1]), sys.argv[2] or None)\n"
        "with store.session(reading=True) as session: print(freeze(session, seed=3).hash)"
    )
    command = [sys.executable, "-c", program, str(scene.store.home), url or ""]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == frozen(scene.store, seed=3).hash


def test_an_empty_store_freezes_to_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    dataset = frozen(store)
    store.close()
    assert not any(dataset.by_kind().values())
    assert (dataset.ratings, dataset.left_out) == (0, {})
    assert len(dataset.hash) == 64


@pytest.mark.parametrize(("value", "outcome"), [("tie", 0.5), ("both_bad", 0.0)])
def test_two_answers_that_were_compared_are_no_pair_of_their_thumbs_too(
    scene: Scene, value: str, outcome: float
) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    good, bad = scene.answer(ann, "Q", "good"), scene.answer(ann, "Q", "bad")
    for person in (ann, bob):
        scene.rate(good, person, "thumb", 1)
        scene.rate(bad, person, "thumb", -1)
    scene.rate(bad, ann, "pair", value, good)
    with scene.store.session(reading=True) as session:
        found = freeze(session, seed=0)
    assert sorted((each.kind, each.outcome, each.person) for each in found.pairs) == [
        ("pair", outcome, ann),
        ("thumbs", 1.0, bob),
    ]
    assert len(found.thumbs) == 4
