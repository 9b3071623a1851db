"""Each format's file through the import: what must be in the store afterwards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from sqlalchemy import select

from problems import Problem
from store.database import Store
from store.datasets import freeze
from store.formats.files import read_rows
from store.formats.known import FORMATS
from store.imports import import_file
from store.opinions import asked, opinions
from store.ratings import KINDS, count_present
from store.schema import Generation

from . import samples
from .samples import DOWN, UP, open_webui_chat, open_webui_feedback, turn

WHY = [turn("user", "Why?")]
SKY = [turn("user", "Hello?"), turn("assistant", "Hi."), turn("user", "Why is the sky blue?")]
LIBRE = [turn("system", "Be short."), turn("user", "Hello?")]
SCATTERED = [
    ("thumb", 1, SKY, "Scattering.", None),
    ("score", 9, SKY, "Scattering.", None),
    ("tags", ["accurate_information", "physics"], SKY, "Scattering.", None),
    ("comment", "Right.", SKY, "Scattering.", None),
    ("thumb", -1, SKY, "No idea.", None),
    ("pair", "left", SKY, "Scattering.", "No idea."),
]
FLAGGED = [turn("user", "Why?"), turn("assistant", 'Because,\nof "it".'), turn("user", "So?")]

# By format: (kind, value, prompt, answer, other answer) of every opinion, in any order.
TOLD: dict[str, list[tuple[str, Any, list[dict[str, str]], str, str | None]]] = {
    "trl-preference": [("pair", "left", WHY, "Because.", "No.")],
    "trl-unpaired": [("thumb", 1, WHY, "Because.", None)],
    "trl-prompt": [],
    "hh-rlhf": [("pair", "left", [turn("user", "Hi"), turn("assistant", "Yes?"), *WHY], "Because.", "No.")],
    "sharegpt": [("pair", "left", WHY, "Because.", "No.")],
    "alpaca": [("pair", "left", WHY, "Because.", "No.")],
    "kto": [
        ("thumb", 1, WHY, "Because.", None),
        ("thumb", -1, WHY, "No.", None),
        ("thumb", 1, [turn("user", "Add.\n1 + 1")], "2", None),
    ],
    "open-webui-feedback": SCATTERED,
    "open-webui-chats": SCATTERED,
    "librechat": [
        ("thumb", 1, LIBRE, "Hi.", None),
        ("tags", ["creative_solution"], LIBRE, "Hi.", None),
        ("comment", "nice", LIBRE, "Hi.", None),
        ("thumb", -1, [*LIBRE, turn("assistant", "Hi."), *WHY], "Because.", None),
        ("tags", ["not_helpful"], [*LIBRE, turn("assistant", "Hi."), *WHY], "Because.", None),
    ],
    "chat-ui": [
        ("thumb", -1, WHY, "Yes.", None),
        ("thumb", 1, WHY, "Because.", None),
        ("pair", "left", WHY, "Because.", "Yes."),
    ],
    "fastchat": [
        ("pair", "left", WHY, "Because.", "No."),
        ("pair", "left", WHY, "Because.", "No."),
        ("pair", "tie", WHY, "Because.", "No."),
        ("pair", "both_bad", WHY, "Hm.", "No."),
        ("thumb", 1, WHY, "Because.", None),
        ("thumb", -1, WHY, "No.", None),
    ],
    "fastchat cleaned": [
        ("pair", "left", WHY, "Because.", "No."),
        ("pair", "left", WHY, "No.", "Because."),
        ("pair", "tie", WHY, "Because.", "No."),
        ("pair", "both_bad", WHY, "Because.", "No."),
    ],
    "argilla": [
        ("score", 7, WHY, "Because.", None),
        ("tags", ["short"], WHY, "Because.", None),
        ("comment", "Say more.", WHY, "Because.", None),
        ("correction", "Because of scattering.", WHY, "Because.", None),
    ],
    "feel": [
        ("thumb", 1, [turn("user", "Q0")], "good", None),
        ("thumb", -1, [turn("user", "Q0"), turn("assistant", "good"), turn("user", "Q1")], "bad", None),
        (
            "correction",
            "mine",
            [
                turn("user", "Q0"),
                turn("assistant", "good"),
                turn("user", "Q1"),
                turn("assistant", "bad"),
                turn("user", "Q2"),
            ],
            "yours",
            None,
        ),
    ],
    "openai-logs": [],
    "pykoi": [
        ("thumb", 1, WHY, "Because.", None),
        ("thumb", -1, WHY, "No.", None),
        ("pair", "left", WHY, "Because.", "No."),
    ],
    "gradio": [
        ("thumb", 1, WHY, 'Because,\nof "it".', None),
        ("thumb", -1, FLAGGED, "So.", None),
        ("tags", ["Off topic"], FLAGGED, "So.", None),
    ],
}
SKIPPED = {"fastchat": 2, "pykoi": 2}


def told(store: Store) -> list[tuple[Any, ...]]:
    with store.session(reading=True) as session:
        return [(each.kind, each.value, each.messages, each.text, each.other_text) for each in opinions(session, KINDS)]


def in_order(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(json.dumps(row) for row in rows)


def put(folder: Path, rows: Any) -> Path:
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


@pytest.mark.parametrize("name", samples.NAMES)
def test_every_opinion_of_a_file_is_in_the_store_and_nothing_else(store: Store, tmp_path: Path, name: str) -> None:
    file = samples.write(tmp_path, name)
    report = import_file(store, file)
    assert report.format == name.removesuffix(" cleaned")
    assert report.skipped == SKIPPED.get(name, 0) == len(report.problems)
    assert in_order(told(store)) == in_order(TOLD[name])
    again = import_file(store, file)
    assert (again.imported, again.duplicates) == (0, report.imported + report.duplicates)
    assert in_order(told(store)) == in_order(TOLD[name])


@pytest.mark.parametrize("name", samples.NAMES)
def test_only_its_own_format_takes_a_row(tmp_path: Path, name: str) -> None:
    taken = {
        each.NAME
        for _, row in read_rows(samples.write(tmp_path, name))
        for each in FORMATS
        if isinstance(row, Mapping) and each.matches(row)
    }
    assert taken == {name.removesuffix(" cleaned")}


@pytest.mark.parametrize("form", ["array", "lines", "array.gz", "lines.gz"])
@pytest.mark.parametrize("name", list(samples.ROWS))
def test_every_form_of_a_file_says_the_same(store: Store, tmp_path: Path, name: str, form: str) -> None:
    rows = samples.ROWS[name]
    text = json.dumps(rows) if form.startswith("array") else "".join(json.dumps(row) + "\n" for row in rows)
    file = tmp_path / f"rows.{form}"
    file.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    import_file(store, file)
    assert in_order(told(store)) == in_order(TOLD[name])


NOT_PARQUET = {"trl-prompt", "open-webui-feedback", "open-webui-chats", "librechat"}  # of mixed types, or objects by id


@pytest.mark.parametrize("name", [name for name in samples.ROWS if name not in NOT_PARQUET])
def test_parquet_says_the_same(store: Store, tmp_path: Path, name: str) -> None:
    keys = {key: None for row in samples.ROWS[name] for key in row}
    rows = [keys | row for row in samples.ROWS[name]]
    if name == "openai-logs":
        rows = [row | {"request": {"messages": [turn("user", "Why?")]}} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows")
    assert import_file(store, tmp_path / "rows").format == name.removesuffix(" cleaned")
    assert in_order(told(store)) == in_order(TOLD[name])


def test_prompts_and_logged_answers_can_be_asked_again(store: Store, tmp_path: Path) -> None:
    import_file(store, samples.write(tmp_path, "trl-prompt"))
    import_file(store, samples.write(tmp_path, "openai-logs"))
    short = [turn("system", "Be short."), turn("user", "Why?")]
    with store.session(reading=True) as session:
        assert [each.messages for each in asked(session)] == [
            short,
            short,
            WHY,
            [turn("system", "Be short."), turn("user", "How?")],
            short,
        ]
        assert [each.text for each in session.scalars(select(Generation))] == ["Because.", "For reasons."]
        dataset = freeze(session, seed=0)
        assert set(count_present(session).values()) == {0}
    assert len(dataset.prompts) == 3
    assert (dataset.pairs, dataset.thumbs) == ([], [])


def test_opposite_thumbs_on_siblings_are_one_pair_however_they_come_in(store: Store, tmp_path: Path) -> None:
    up, down = open_webui_feedback("a2", {"rating": 1}), open_webui_feedback("b2", {"rating": -1})
    import_file(store, put(tmp_path, [down]))
    import_file(store, put(tmp_path, [up, down]))
    # The same chat, exported with its annotations: nothing new.
    chats = [{"id": "c", "title": "", "chat": open_webui_chat(a2={"rating": 1}, b2={"rating": -1})}]
    again = import_file(store, put(tmp_path, chats))
    assert (again.format, again.imported, again.duplicates) == ("open-webui-chats", 0, 1)
    with store.session(reading=True) as session:
        assert count_present(session) | {"thumb": 2, "pair": 1} == count_present(session)
        assert [(each.first, each.second, each.kind) for each in freeze(session, seed=0).pairs] == [
            ("Scattering.", "No idea.", "pair")
        ]


def test_answers_to_different_questions_are_no_pair(store: Store, tmp_path: Path) -> None:
    chat = open_webui_chat()
    chat["history"]["messages"]["b2"]["parentId"] = "q1"
    import_file(
        store,
        put(tmp_path, [open_webui_feedback(id, {"rating": sign}, chat) for id, sign in (("a2", 1), ("b2", -1))]),
    )
    assert [row[0] for row in told(store)] == ["thumb", "thumb"]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (UP, {"thumb": 1, "score": 9}),
        (DOWN, {"thumb": -1}),
        ({"rating": 1, "details": {"rating": 3}}, {"thumb": 1}),
        ({"rating": -1, "details": {"rating": 3}}, {"thumb": -1, "score": 3}),
        ({"rating": "1", "details": {"rating": None}}, {"thumb": 1}),
        ({"rating": None, "details": {"rating": 3}}, {"score": 3}),
    ],
)
def test_a_score_that_contradicts_the_thumb_is_dropped(
    store: Store, tmp_path: Path, data: dict[str, Any], kept: dict[str, int]
) -> None:
    import_file(store, put(tmp_path, [open_webui_feedback("a2", data)]))
    assert {row[0]: row[1] for row in told(store) if row[0] in ("thumb", "score")} == kept


@pytest.mark.parametrize("gone", ["history", "messages"])
def test_either_list_of_messages_in_an_open_webui_chat_will_do(store: Store, tmp_path: Path, gone: str) -> None:
    chat = open_webui_chat() | {gone: {"messages": {}} if gone == "history" else []}
    import_file(store, put(tmp_path, [open_webui_feedback("a2", {"rating": 1}, chat)]))
    assert told(store) == [("thumb", 1, SKY, "Scattering.", None)]


def test_a_chat_that_nobody_rated_is_a_conversation_down_to_what_was_shown(store: Store, tmp_path: Path) -> None:
    import_file(store, put(tmp_path, [{"id": "c", "chat": open_webui_chat()}]))
    with store.session(reading=True) as session:
        assert [(each.messages, each.text) for each in session.scalars(select(Generation))] == [(SKY, "No idea.")]
        assert set(count_present(session).values()) == {0}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (open_webui_feedback("a2", {"rating": 0}), "holds no opinion"),
        (open_webui_feedback("a2", {"rating": 1}, type="other"), "is no rating"),
        (open_webui_feedback("a2", {"rating": 1}, snapshot=None), "no snapshot"),
        (samples.vote("chat", samples.state("Q", "A"), samples.state("Q", "B")), "'chat' is no vote"),
        (samples.vote("leftvote", samples.state("Q", "A", "R", "A"), samples.state("Q", "B", "R", "B")), "differ"),
        (samples.vote("leftvote", samples.state("Q", "A"), samples.state("Q", "A")), "are the same"),
        (samples.vote("upvote", samples.state("Q", None)), "not finished"),
        (
            samples.ARGILLA
            | {"quality.responses.status": ["draft"] * 3}
            | dict.fromkeys(("issues.responses", "comment.responses", "corrected.responses")),
            "nobody has submitted",
        ),
        (samples.openai_log(messages=[turn("user", "Q"), {"role": "assistant", "tool_calls": [{}]}]), "calls tools"),
        (
            samples.openai_log(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
            "no text",
        ),
        (samples.feel() | {"conversation": [turn("assistant", "Hi.")]}, "without a turn of the user"),
        (open_webui_feedback("gone", {"rating": 1}), "not in the snapshot"),
        (open_webui_feedback("q2", {"rating": 1}), "does not end with a turn of the assistant"),
        ({"chat": {"messages": [{"role": "user"}]}}, "content is missing"),
        ({"messages": [samples.libre("a", "a", False, "x", feedback={"rating": "thumbsUp"})]}, "circle"),
        ({"messages": [{"from": "user", "content": "Q"}, {"from": "bot", "content": "A"}]}, "'bot' is none of"),
        (samples.openai_log("A", messages=[turn("assistant", "A")]), "does not end with a turn to answer"),
        ({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: R\n\nAssistant: B"}, "differ before"),
        ({"prompt": [turn("user", "Q"), turn("assistant", "A")]}, "does not end with a turn of the user"),
        ({"prompt": " "}, "prompt is empty"),
        (
            {"prompt": "Q", "response": "A", "quality.responses": [0], "quality.responses.status": ["submitted"]},
            "no whole number",
        ),
        ({"prompt": "Q", "response": "A", "quality.responses": [float("nan")]}, "no whole number"),
    ],
)
def test_a_row_with_nothing_to_keep_is_listed_and_refuses_no_file(
    store: Store, tmp_path: Path, row: dict[str, Any], why: str
) -> None:
    report = import_file(store, put(tmp_path, [row]))
    assert (report.imported, report.skipped) == (0, 1)
    assert "row 1" in report.problems[0]
    assert why in report.problems[0]
    assert told(store) == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (open_webui_feedback("a2", {"rating": 2}), "neither 1 nor -1"),
        (open_webui_feedback("a2", {"rating": True}), "neither 1 nor -1"),
        (open_webui_feedback("a2", {"rating": float("nan")}), "neither 1 nor -1"),
        (open_webui_feedback("a2", {"rating": 1, "details": {"rating": 11}}), "from 1 to 10"),
        (open_webui_feedback("a2", {"rating": 1, "details": {"rating": float("nan")}}), "from 1 to 10"),
        (open_webui_feedback("a2", {"rating": 1, "comment": "x" * 10_001}), "comment cannot be"),
        (open_webui_feedback("a2", {"rating": 1, "tags": ["x" * 101], "details": {}}), "tag cannot be"),
        ({"messages": [samples.libre("a", None, False, "x", feedback={"rating": "up"})]}, "neither thumbsUp"),
        (samples.vote("leftvote", samples.state("Q", "A")), "states is missing"),
        (samples.cleaned("model_c"), "'model_c' is none of"),
        (samples.ARGILLA | {"quality.responses.users": ["u"]}, "1 entries for 3 responses"),
        ({key: each for key, each in samples.ARGILLA.items() if key != "response"}, "no field is an answer"),
        ({"question": "Q", "answer": "A", "vote_status": ["up"]}, "none of up, down"),
        (samples.feel({"content": "A", "rating": 5}), "neither 1 nor -1"),
    ],
)
def test_a_bad_row_refuses_the_file_and_says_why(store: Store, tmp_path: Path, row: dict[str, Any], why: str) -> None:
    with pytest.raises(Problem, match=f"row 1: .*{why}"):
        import_file(store, put(tmp_path, [row]))
    assert told(store) == []


def test_argilla_compares_several_answers(store: Store, tmp_path: Path) -> None:
    fields = {"instruction": "Why?", "response-1": "A", "response-2": "B", "response-3": "C"}
    ranking = [{"value": f"response-{number}", "rank": rank} for number, rank in ((1, 2), (2, 1), (3, 2))]
    rows: list[dict[str, Any]] = [fields | {"order.responses": [ranking], "order.responses.status": ["submitted"]}]
    two = {"instruction": "Why?", "response_a": "A", "response_b": "B"}
    rows += [two | {"better.responses": [label]} for label in ("response_b", "a", "tie", "both bad")]
    report = import_file(store, put(tmp_path, rows))
    assert (report.imported, report.skipped) == (5, 0)
    assert in_order([(row[1], row[3], row[4]) for row in told(store)]) == in_order(
        [
            ("left", "B", "A"),
            ("tie", "A", "C"),
            ("left", "B", "C"),
            ("left", "B", "A"),
            ("left", "A", "B"),
            ("tie", "A", "B"),
            ("both_bad", "A", "B"),
        ]
    )


def test_scores_stay_scores(store: Store, tmp_path: Path) -> None:
    rows = [
        samples.ARGILLA | {"response": text, "quality.responses": [score, 1, 1]} for text, score in (("A", 9), ("B", 2))
    ]
    import_file(store, put(tmp_path, rows))
    with store.session(reading=True) as session:
        present = count_present(session)
        assert (present["score"], present["pair"], present["thumb"]) == (2, 0, 0)
