from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Problem
from store import datasets
from store.conversations import set_consent
from store.database import Store, open_store
from store.datasets import Frozen, freeze, split_of

from .conftest import Scene

ROOT = Path(__file__).parents[2]


def frozen(store: Store, seed: int = 0, holdout_share: float = 0.15) -> Frozen:
    with store.session(reading=True) as session:
        return freeze(session, seed=seed, holdout_share=holdout_share)


def told(dataset: Frozen) -> set[tuple[str, str, float, str]]:
    return {(pair.first, pair.second, pair.outcome, pair.kind) for pair in dataset.pairs}


def thumbs(dataset: Frozen) -> set[tuple[str, bool, str]]:
    return {(thumb.answer, thumb.liked, thumb.kind) for thumb in dataset.thumbs}


@pytest.mark.parametrize(
    ("value", "pairs", "down"),
    [
        ("left", {("one", "two", 1.0, "pair")}, set()),
        ("right", {("two", "one", 1.0, "pair")}, set()),
        ("tie", {("one", "two", 0.5, "pair")}, set()),
        ("both_bad", set(), {("one", False, "both_bad"), ("two", False, "both_bad")}),
    ],
)
def test_a_pair_is_ordered_by_its_verdict(
    scene: Scene, value: str, pairs: set[tuple[str, str, float, str]], down: set[tuple[str, bool, str]]
) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "one"), ann, "pair", value, scene.answer(ann, "Q", "two"))
    dataset = frozen(scene.store)
    assert told(dataset) == pairs
    assert thumbs(dataset) == down


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
    scene.rate(of_ann, ann, "pair", "left", also_ann)
    assert len(frozen(scene.store).thumbs) == 4
    with scene.store.session() as session:
        set_consent(session, bob, False)
    dataset = frozen(scene.store)
    assert [(each.person, each.answer) for each in dataset.thumbs] == [(ann, "a")]
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


def opening_on(side: str, share: float, nth: int = 0) -> str:
    """A question that falls on that side."""
    words = (f"Question {hashlib.sha256(str(number).encode()).hexdigest()[:16]}" for number in range(1000))
    return [word for word in words if split_of(word, share) == side][nth]


def test_what_is_nearly_held_out_is_not_trained_on(scene: Scene) -> None:
    ann = scene.person("ann")
    held = opening_on("holdout", 0.3)
    near = next(
        f"{held}{mark}"
        for mark in ("!", "?", "...", " !", "!!", "?!", ";")
        if split_of(f"{held}{mark}", 0.3) == "train"
    )
    for words, answer in ((held, "held"), (near, "near"), (opening_on("train", 0.3), "far")):
        scene.rate(scene.answer(ann, words, answer), ann, "thumb", 1)
    dataset = frozen(scene.store, holdout_share=0.3)
    assert {(each.answer, each.split) for each in dataset.thumbs} == {("held", "holdout"), ("far", "train")}
    assert len(dataset.prompts) == 2
    assert dataset.left_out == {"nearly held out": 2}


def test_a_person_is_held_out_for_ever_and_never_one_of_the_first(scene: Scene) -> None:
    people = [scene.person(f"person {number}") for number in range(60)]
    for number, each in enumerate(people):
        scene.rate(scene.answer(each, opening_on("train", 0.15, number), "a"), each, "thumb", 1)
    with scene.store.session(reading=True) as session:
        dataset = freeze(session, seed=0, holdout_people=0.4)
    held = {each.person for each in dataset.thumbs if each.split == "holdout"}
    assert 5 < len(held) < 30
    assert not held & set(people[:20])
    assert {each.person for each in dataset.thumbs if each.split == "train"} == set(people) - held
    assert {each.person for each in dataset.prompts if each.split == "holdout"} == held
    for number in range(60, 80):
        newer = scene.person(f"person {number}")
        scene.rate(scene.answer(newer, opening_on("train", 0.15, number), "a"), newer, "thumb", 1)
    with scene.store.session(reading=True) as session:
        later = freeze(session, seed=9, holdout_people=0.4)
    assert {each.person for each in later.thumbs if each.split == "holdout"} >= held


def test_a_held_out_person_s_opinion_on_another_s_answer_is_left_out(scene: Scene) -> None:
    people = [scene.person(f"person {number}") for number in range(60)]
    with scene.store.session(reading=True) as session:
        held = sorted(datasets._held_out_people(session, 0.4))
    answer = scene.answer(people[0], opening_on("train", 0.15), "a")
    scene.rate(answer, held[0], "thumb", 1)
    scene.rate(answer, people[1], "thumb", 1)
    with scene.store.session(reading=True) as session:
        dataset = freeze(session, seed=0, holdout_people=0.4)
    assert [(each.person, each.split) for each in dataset.thumbs] == [(people[1], "train")]
    assert dataset.left_out == {"straddling": 1}


def test_personal_data_is_learned_as_placeholders(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    said = "Write to ann.berg@example.org about order 4821."
    one, two = scene.answer(ann, said, "I wrote to ann.berg@example.org."), scene.answer(ann, said, "Done.")
    scene.rate(one, ann, "pair", "left", two)
    scene.rate(two, ann, "thumb", 1)
    with scene.store.session(reading=True) as session:
        plain, clean = freeze(session, seed=0), freeze(session, seed=0, scrub=True)
    assert plain.scrubbed == {}
    assert "ann.berg" not in json.dumps([vars(row) for row in (*clean.pairs, *clean.thumbs, *clean.prompts)])
    assert clean.pairs[0].first == "I wrote to <EMAIL>."
    assert clean.pairs[0].messages[0]["content"] == "Write to <EMAIL> about order 4821."
    assert clean.scrubbed == {"first": {"email": 1}, "messages": {"email": 3}}
    assert (clean.pairs[0].split, clean.hash != plain.hash) == (plain.pairs[0].split, True)
    clean.to_json(tmp_path / "dataset")
    assert Frozen.from_json(tmp_path / "dataset") == clean


def test_one_person_s_share_is_capped(scene: Scene) -> None:
    people = [scene.person(name) for name in ("ann", "bob", "cem", "dora")]
    for count, each in zip((30, 4, 3, 3), people, strict=True):
        for _ in range(count):
            number = scene.events()
            scene.rate(scene.answer(each, opening_on("train", 0.15, number), f"a{number}"), each, "thumb", 1)

    def by_person(share: float) -> list[int]:
        with scene.store.session(reading=True) as session:
            rows = freeze(session, seed=0, person_share=share).thumbs
        return [sum(row.person == each for row in rows) for each in people]

    assert by_person(1.0) == [30, 4, 3, 3]
    assert by_person(0.5) == [10, 4, 3, 3]
    assert by_person(0.01) == [3, 3, 3, 3]


def test_an_edited_opening_that_would_straddle_is_left_out(scene: Scene) -> None:
    ann = scene.person("ann")
    words = [f"Question {number}" for number in range(60)]
    kept = next(word for word in words if split_of(word, 0.3) == "train")
    held = next(word for word in words if split_of(word, 0.3) == "holdout")
    conversation = scene.conversation(ann)
    scene.rate(scene.answer(ann, kept, "a", conversation), ann, "thumb", 1)
    scene.rate(scene.answer(ann, held, "b", conversation), ann, "thumb", 1)
    dataset = frozen(scene.store, holdout_share=0.3)
    assert thumbs(dataset) == {("a", True, "thumb")}
    assert [each.messages[0]["content"] for each in dataset.prompts] == [kept]
    assert dataset.left_out == {"straddling": 2}


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
    scene.rate(scene.answer(ann, "Q0", "new"), ann, "thumb", 1)
    assert frozen(scene.store, seed=1).hash != first.hash


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


def test_a_dataset_comes_back_from_its_folder_and_a_change_is_noticed(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q", "line\u2028end\x85\7\r\n"), ann, "thumb", 1)
    scene.rate(scene.answer(ann, "Q", "one"), ann, "pair", "tie", scene.answer(ann, "Q", "two"))
    dataset = frozen(scene.store)
    dataset.to_json(tmp_path / "dataset")
    assert Frozen.from_json(tmp_path / "dataset") == dataset
    rows = tmp_path / "dataset" / "thumbs.jsonl"
    row = json.loads(rows.read_text(encoding="utf-8"))
    rows.write_text(json.dumps(row | {"liked": False}) + "\n", encoding="utf-8")
    with pytest.raises(Problem, match="hash"):
        Frozen.from_json(tmp_path / "dataset")
    rows.unlink()
    with pytest.raises(Problem, match="cannot be read"):
        Frozen.from_json(tmp_path / "dataset")


def test_an_empty_store_freezes_to_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    dataset = frozen(store)
    store.close()
    assert (dataset.pairs, dataset.thumbs, dataset.prompts, dataset.left_out) == ([], [], [], {})
    assert len(dataset.hash) == 64


@given(opening=st.text(), share=st.floats(0, 1))
def test_what_is_held_out_stays_so_when_more_is_held_out(opening: str, share: float) -> None:
    assert split_of(opening, 0.0) == "train"
    assert split_of(opening, 1.0) == "holdout"
    if split_of(opening, share) == "holdout":
        assert split_of(opening, min(1.0, share * 1.5)) == "holdout"


def test_two_answers_that_were_compared_are_no_pair_of_their_thumbs_too(scene: Scene) -> None:
    ann, bob = scene.person("ann"), scene.person("bob")
    good, bad = scene.answer(ann, "Q", "good"), scene.answer(ann, "Q", "bad")
    for person in (ann, bob):
        scene.rate(good, person, "thumb", 1)
        scene.rate(bad, person, "thumb", -1)
    scene.rate(bad, ann, "pair", "tie", good)
    with scene.store.session(reading=True) as session:
        found = freeze(session, seed=0)
    assert sorted((each.kind, each.outcome, each.person) for each in found.pairs) == [
        ("pair", 0.5, ann),
        ("thumbs", 1.0, bob),
    ]
    assert len(found.thumbs) == 4
