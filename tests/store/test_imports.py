from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from sqlalchemy import func, select

from problems import Problem
from store.conversations import conversations_of, messages_of, path_to
from store.database import Store, open_store
from store.datasets import freeze
from store.imports import import_file
from store.ratings import count_present
from store.schema import Conversation, Generation

from .conftest import Scene

SHARED = Path(__file__).parents[3] / "shared" / "data"
PAIRS = [{"prompt": f"Q{number}", "chosen": "good", "rejected": "bad"} for number in range(5)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def stored(store: Store) -> int:
    with store.session(reading=True) as session:
        return session.scalar(select(func.count()).select_from(Conversation)) or 0


def test_a_pair_becomes_a_tree_with_two_answers_and_an_opinion(store: Store, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    row = {
        "prompt": turns,
        "chosen": [{"role": "assistant", "content": "Hi."}],
        "rejected": [{"role": "assistant", "content": "What?"}],
    }
    report = import_file(store, write(tmp_path / "pairs.jsonl", [row]))
    assert (report.imported, report.skipped, report.duplicates, report.format) == (1, 0, 0, "trl-preference")
    with store.session(reading=True) as session:
        conversation = conversations_of(session, "import")[0]
        tree = messages_of(session, conversation.id)
        assert [each.content for each in tree] == ["Be kind.", "Hello?", "Hi.", "What?"]
        assert [each.content for each in path_to(session, tree[3].id)] == ["Be kind.", "Hello?", "What?"]
        answers = [session.get_one(Generation, each.generation_id) for each in tree[2:]]
        assert [(each.text, each.side, each.version_id, each.surface) for each in answers] == [
            ("Hi.", "left", None, "import"),
            ("What?", "right", None, "import"),
        ]
        assert answers[0].messages == answers[1].messages == turns
        assert count_present(session)["pair"] == 1
        dataset = freeze(session, seed=0)
    assert [(each.first, each.second, each.outcome, each.person) for each in dataset.pairs] == [
        ("Hi.", "What?", 1.0, "import")
    ]
    assert [each.messages for each in dataset.prompts] == [turns]


def test_labels_become_thumbs(store: Store, tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "completion": text, "label": text == "good"} for text in ("good", "bad")]
    import_file(store, write(tmp_path / "labels.jsonl", rows))
    with store.session(reading=True) as session:
        dataset = freeze(session, seed=0)
    assert {(each.answer, each.liked) for each in dataset.thumbs} == {("good", True), ("bad", False)}


def test_a_second_import_adds_nothing_and_a_row_that_stands_twice_is_two(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", [*PAIRS, PAIRS[0]])
    assert import_file(store, file).imported == 6
    again = import_file(store, file)
    assert (again.imported, again.duplicates) == (0, 6)
    longer = import_file(store, write(tmp_path / "longer.jsonl", [*PAIRS, PAIRS[0], PAIRS[0]]))
    assert (longer.imported, longer.duplicates) == (1, 6)
    assert stored(store) == 7


def test_what_was_rated_here_is_known_too(scene: Scene, tmp_path: Path) -> None:
    ann = scene.person("ann")
    scene.rate(scene.answer(ann, "Q0", "bad"), ann, "pair", "right", scene.answer(ann, "Q0", "good"))
    scene.rate(scene.answer(ann, "Q1", "bad"), ann, "correction", "good")
    report = import_file(scene.store, write(tmp_path / "pairs.jsonl", PAIRS))
    assert (report.imported, report.duplicates) == (3, 2)


def test_the_same_file_gives_the_same_dataset_in_any_store(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", PAIRS)
    with open_store_at(tmp_path / "other") as other:
        import_file(other, write(tmp_path / "backwards.jsonl", PAIRS[::-1]))
        import_file(store, file)
        with store.session(reading=True) as one, other.session(reading=True) as two:
            assert freeze(one, seed=4) == freeze(two, seed=4)


@pytest.mark.parametrize(
    "bad", ['{"prompt": "Q", "chosen": "a"}', '{"prompt": "Q"', '{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}']
)
def test_a_bad_row_is_named_and_nothing_is_stored_unless_it_may_be_skipped(
    store: Store, tmp_path: Path, bad: str
) -> None:
    file = write(tmp_path / "pairs.jsonl", PAIRS)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:3], bad, *lines[3:]]), encoding="utf-8")
    with pytest.raises(Problem, match=r"pairs\.jsonl, line 4: ") as caught:
        import_file(store, file)
    assert "Nothing was stored" in caught.value.hint
    assert stored(store) == 0
    report = import_file(store, file, skip_bad=True)
    assert (report.imported, report.skipped, len(report.problems)) == (5, 1, 1)
    assert "line 4" in report.problems[0]


def test_a_failure_in_the_middle_of_storing_leaves_nothing(store: Store, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done > 500:
            raise KeyboardInterrupt

    rows = [{"prompt": f"Q{number}", "chosen": "good", "rejected": "bad"} for number in range(1200)]
    file = write(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(KeyboardInterrupt):
        import_file(store, file, progress=stop)
    assert stored(store) == 0
    seen: list[int] = []
    assert import_file(store, file, progress=seen.append).imported == 1200
    assert seen == [500, 1000, 1200]


def test_an_unknown_format_names_the_known_ones(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"instruction": "a", "output": "b"}])
    with pytest.raises(Problem, match="its rows have instruction, output") as caught:
        import_file(store, file)
    assert "trl-preference" in caught.value.hint
    assert "sharegpt" in caught.value.hint
    with pytest.raises(Problem, match="no format 'csv'") as named:
        import_file(store, file, format="csv")
    assert named.value.status == 2


def test_a_format_may_be_named_and_is_then_held_to(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", PAIRS)
    with pytest.raises(Problem, match="line 1: conversations is missing"):
        import_file(store, file, format="sharegpt")
    assert import_file(store, file, format="trl-preference").imported == 5


@pytest.mark.parametrize("content", ['{"prompt": "Q", "chos', "a letter", "[1, 2]", '{\n"prompt": "Q"\n'])
def test_a_file_of_which_no_row_can_be_read_is_a_problem_of_its_first_row(
    store: Store, tmp_path: Path, content: str
) -> None:
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(Problem, match=r"file\.json, (line|row) 1: it is no "):
        import_file(store, tmp_path / "file.json", skip_bad=True)


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_a_file_without_rows_is_a_problem(store: Store, tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.json").write_text(content)
    with pytest.raises(Problem, match="holds no rows"):
        import_file(store, tmp_path / "empty.json")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real inputs beside the project is missing")
def test_three_hundred_real_pairs(store: Store, tmp_path: Path) -> None:
    source = SHARED / "dpo_en_demo.json"
    cut = tmp_path / "cut.json"
    cut.write_bytes(source.read_bytes()[:300_000])
    for skip_bad in (False, True):
        with pytest.raises(Problem, match="not whole JSON"):
            import_file(store, cut, skip_bad=skip_bad)
    assert stored(store) == 0
    first = import_file(store, source)
    assert (first.imported, first.skipped, first.duplicates, first.format) == (300, 0, 0, "sharegpt")
    packed = tmp_path / "pairs.json.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    second = import_file(store, packed)
    assert (second.imported, second.duplicates) == (0, 300)
    with store.session(reading=True) as session:
        dataset = freeze(session, seed=0)
    assert len(dataset.pairs) == 300
    assert 20 <= sum(pair.split == "holdout" for pair in dataset.pairs) <= 80


@pytest.mark.parametrize("form", ["lines", "array", "parquet"])
def test_an_import_needs_little_memory(store: Store, tmp_path: Path, form: str) -> None:
    rows = [{"prompt": f"Q{number}", "chosen": "x" * 20_000, "rejected": "bad"} for number in range(2000)]
    file = tmp_path / "rows"
    if form == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), file, compression="none", use_dictionary=False)
    else:
        file.write_text(json.dumps(rows) if form == "array" else "".join(json.dumps(row) + "\n" for row in rows))
    assert file.stat().st_size > 40_000_000
    del rows
    tracemalloc.start()
    assert import_file(store, file).imported == 2000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


class open_store_at:
    def __init__(self, home: Path) -> None:
        self.store = open_store(home)

    def __enter__(self) -> Store:
        return self.store

    def __exit__(self, *error: object) -> None:
        self.store.close()
