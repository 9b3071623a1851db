"""Files that mean harm or were harmed: a problem that names the place, or a row left out; never a half of a file."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from problems import Problem
from store.database import Store
from store.exports import export
from store.formats.known import FORMATS
from store.formats.rows import BadRow, LeftOut
from store.imports import import_file
from store.schema import Conversation, Generation, Message, Rating

from . import samples


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: list[Any] = [
    None,
    True,
    0,
    -5,
    11,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "half \ud800",
    "\u202e\ufeff",
    "x" * 20_000,
    "9999-12-31T23:59:59Z",
    [],
    {},
    [None],
    [[]],
    {"": {}},
    {"half \udfff": "\ud800"},
    {"role": "user", "content": "Q"},
    [{"role": "user", "content": [{"type": "text", "text": None}]}],
    nested(300),
    -(2**63),
]
NAMES = list(samples.ROWS)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [place for key, each in value.items() for place in places(each, (*path, key))]
    if isinstance(value, list | tuple):
        return found + [place for index, each in enumerate(value) for place in places(each, (*path, index))]
    return found


def changed(row: dict[str, Any], path: tuple[Any, ...], value: Any, gone: bool) -> dict[str, Any]:
    row = json.loads(json.dumps(row))
    inner: Any = row
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = copy.deepcopy(value)
    return row


def counts(store: Store) -> list[int]:
    with store.session(reading=True) as session:
        tables = (Conversation, Message, Generation, Rating)
        return [session.scalar(select(func.count()).select_from(each)) or 0 for each in tables]


@st.composite
def hostile_rows(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(NAMES))
    row = draw(st.sampled_from(samples.ROWS[name]))
    for _ in range(draw(st.integers(1, 3))):
        paths = places(row)
        if paths:
            row = changed(row, draw(st.sampled_from(paths)), draw(st.sampled_from(HOSTILE)), draw(st.booleans()))
    return name, row


@settings(max_examples=400, deadline=None)
@given(hostile_rows())
def test_a_hostile_row_is_read_or_refused(named: tuple[str, dict[str, Any]]) -> None:
    for each in FORMATS:
        each.matches(named[1])
        with contextlib.suppress(BadRow, LeftOut):
            each.parse(named[1])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(named=hostile_rows(), array=st.booleans())
def test_a_hostile_row_never_leaves_half_a_file(
    store: Store, tmp_path: Path, named: tuple[str, dict[str, Any]], array: bool
) -> None:
    name, row = named
    rows = [*samples.ROWS[name], row]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows) if array else "".join(json.dumps(each) + "\n" for each in rows))
    before = counts(store)
    format = name.removesuffix(" cleaned")
    try:
        import_file(store, file, format)
    except Problem:
        assert counts(store) == before
    report = import_file(store, file, format, skip_bad=True)
    assert report.imported + report.duplicates + report.skipped == len(rows)
    after = counts(store)
    assert import_file(store, file, format, skip_bad=True).imported == 0
    assert counts(store) == after


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), start=st.sampled_from([b"", b"[", b"{", b'[{"prompt": "', b"\x1f\x8b", b"PAR1"]))
def test_any_bytes_are_a_problem_or_rows(store: Store, tmp_path: Path, content: bytes, start: bytes) -> None:
    for name in ("file.json", "file.csv"):
        (tmp_path / name).write_bytes(start + content)
        try:
            import_file(store, tmp_path / name, skip_bad=True)
        except Problem as problem:
            str(problem).encode()


PAIRS = [{"prompt": f"Q{number}", "chosen": "good", "rejected": "bad"} for number in range(2000)]


def corrupted(line: str, draw: random.Random) -> str:
    """A line that no longer is a row: cut, without a field, or with one of another type."""
    return draw.choice([line[: len(line) // 2], line.replace('"chosen"', '"choosen"'), line.replace('"bad"', "3")])


def test_of_a_file_with_one_row_in_a_hundred_corrupted_the_others_come_in(store: Store, tmp_path: Path) -> None:
    draw = random.Random(0)
    wrong = sorted(draw.sample(range(1, 2001), 20))
    lines = [json.dumps(pair) for pair in PAIRS]
    for number in wrong:
        lines[number - 1] = corrupted(lines[number - 1], draw)
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(Problem, match=f"line {wrong[0]}: "):
        import_file(store, file)
    assert counts(store) == [0, 0, 0, 0]
    report = import_file(store, file, skip_bad=True)
    assert (report.imported, report.skipped, report.duplicates) == (1980, 20, 0)
    assert [problem.split(", ")[1].split(":")[0] for problem in report.problems] == [f"line {each}" for each in wrong]


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": "a", "prompt": "b", "chosen": "c", "rejected": "d", "chosen": "e"}',
        json.dumps({"prompt": "Q", "chosen": "x" * 10_000_000, "rejected": "y"}),
        json.dumps({"prompt": "Q", "chosen": "a", "rejected": "b", "more": nested(400)}),
        '{"prompt": "Q", "chosen": "a", "rejected": "b", "weight": NaN, "at": 99999999999999999999}',
    ],
)
def test_odd_rows_that_say_something_are_kept_whole(store: Store, tmp_path: Path, row: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(row)
    assert import_file(store, file).imported == 1
    with store.session(reading=True) as session:
        assert session.scalars(select(Generation.text)).first() == json.loads(row)["chosen"]


def test_a_row_with_nul_is_a_bad_row_on_every_database(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(PAIRS[0]) + '\n{"prompt": "Q", "chosen": "\\u0000a", "rejected": "b"}\n')
    report = import_file(store, file, skip_bad=True)
    assert (report.imported, report.skipped) == (1, 1)
    assert "NUL" in report.problems[0]


def test_a_row_that_nests_too_deeply_is_a_bad_row(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(PAIRS[0]) + '\n{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    report = import_file(store, file, skip_bad=True)
    assert (report.imported, report.skipped) == (1, 1)
    assert "nests too deeply" in report.problems[0]


def test_all_bad_rows_are_counted_and_ten_thousand_named(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(PAIRS[0]) + "\n{}" * 10_003)
    report = import_file(store, file, skip_bad=True)
    assert (report.imported, report.skipped, len(report.problems)) == (1, 10_003, 10_001)
    assert report.problems[-1].endswith("3 more rows were skipped.")


@pytest.mark.parametrize("form", ["lines", "array"])
def test_preferences_come_out_as_they_went_in(store: Store, tmp_path: Path, form: str) -> None:
    turns = [
        samples.turn("system", "Be\u2028 short."),
        samples.turn("user", "Q\n"),
        samples.turn("assistant", " é\x01"),
    ]
    rows = [
        {
            "prompt": [*turns[: 2 + number % 2], samples.turn("user", f"{number} ?  ")],
            "chosen": [samples.turn("assistant", f"\tgood {number}\n")],
            "rejected": [samples.turn("assistant", "bad \U0001f600")],
        }
        for number in range(1100)
    ]
    file = tmp_path / "in.json"
    file.write_text(json.dumps(rows) if form == "array" else "\n".join(json.dumps(row) for row in rows))
    assert import_file(store, file).imported == 1100
    assert export(store, tmp_path / "out.jsonl").rows == 1100
    out = (tmp_path / "out.jsonl").read_bytes().decode().split("\n")
    assert [json.loads(line) for line in out if line] == rows
