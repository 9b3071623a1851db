"""Small files in the shapes of real ones, in place: what each must leave in the store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from problems import Problem
from store.database import Store, open_store
from store.exports import export
from store.formats.columns import unknown
from store.formats.spoken import spoken
from store.imports import ImportReport, import_file
from store.opinions import asked, opinions
from store.ratings import KINDS

from . import samples
from .samples import turn


def asks(text: str, system: str | None = None) -> list[dict[str, str]]:
    return [*([turn("system", system)] if system else []), turn("user", text)]


FRUIT, RIVER, ORCA = asks("Name a fruit."), asks("Name a river."), "You are a careful tutor."
TRUTHY = "You are an unbiased, honest helper without a body."
APPLE = [
    ("thumb", 1, FRUIT, "Apple.", None),
    ("score", 8, FRUIT, "Apple.", None),
    ("tags", ["food"], FRUIT, "Apple.", None),
]
SEAS = [
    turn("user", "Which sea is north of Turkey?"),
    turn("assistant", "The Black Sea."),
    turn("user", "And south?"),
]
NOON = [turn("user", "What time is it?"), turn("assistant", "Let me look."), turn("tool", "12:00")]

# By file: opinions, rows imported and rows skipped.
CASES: dict[str, tuple[list[tuple[Any, ...]], int, int]] = {
    "orca_dpo_pairs.jsonl": (
        [
            (
                "pair",
                "left",
                asks("How many legs has a spider?", ORCA),
                *[f"The spider has {n} legs." for n in ("eight", "six")],
            ),
            ("pair", "left", asks("Is a whale a fish?"), "A whale is a mammal.", "A whale is a big fish."),
        ],
        2,
        0,
    ),
    "lmarena_55k.csv": ([("pair", "left", asks("Is it ok to nap?"), "Yes.", "No.")], 1, 0),
    "helpsteer2_preference.jsonl": ([("pair", "left", asks("Write a haiku."), "Rain on the tin roof", "No.")], 1, 0),
    "nectar.jsonl": ([("pair", "left", asks("Why is the sea salty?"), "Rivers bring salt.", "Fish.")], 1, 0),
    "argilla1_hub.jsonl": ([("pair", "left", FRUIT, "Apple.", "Stone.")], 1, 0),
    "full_hh_rlhf.jsonl": ([("pair", "left", SEAS, "The Mediterranean.", "The Red Sea.")], 1, 0),
    "hh_no_leading_blank.jsonl": ([("pair", "left", SEAS[:1], "It is the Black Sea.", "It is the Red Sea.")], 1, 0),
    "chatml_prompts.jsonl": (
        [("pair", "left", asks("How many legs has a spider?", "You are kind."), "Eight legs.", "Six legs.")],
        1,
        0,
    ),
    "truthy_dpo_system.jsonl": (
        [("pair", "left", asks("Where do you live?", TRUTHY), "Nowhere: I am a program.", "In Paris, near the river.")],
        1,
        0,
    ),
    "owui_reasoning.json": (APPLE, 1, 0),
    "owui_chats_reasoning.json": ([("thumb", 1, asks("What is 6 * 7?"), "42", None)], 1, 0),
    "librechat_thinking.json": (
        [("thumb", 1, FRUIT, "Apple.", None), ("tags", ["accurate_reliable"], FRUIT, "Apple.", None)],
        1,
        0,
    ),
    "chatui_think.jsonl": ([("thumb", 1, FRUIT, "Apple.", None)], 1, 0),
    "librechat_error_answer.json": ([], 1, 0),
    "librechat_tree.json": ([("thumb", 1, FRUIT, "Apple.", None)], 1, 0),
    "argilla2_ranking.json": ([("pair", "left", FRUIT, "Apple.", "Stone.")], 1, 0),
    "argilla_rating_0.json": ([], 0, 1),
    "arena_140k_both_bad.jsonl": (
        [("pair", verdict, RIVER, "The Rhine.", "A lake.") for verdict in ("left", "both_bad")],
        2,
        0,
    ),
    "arena_image_part.jsonl": ([("pair", "left", RIVER, "The Rhine.", "A lake.")], 1, 1),
    "fastchat_vision_log.jsonl": ([("pair", "left", asks("Hi"), "Hello", "Yo")], 1, 1),
    "owui_rated_empty.json": (APPLE, 1, 1),
    "owui_partial_message.json": (APPLE, 1, 0),
    "owui_null_message.json": (APPLE, 1, 0),
    "owui_image_other_branch.json": (APPLE, 1, 0),
    "openai_log_null_content.jsonl": ([], 0, 1),
    "roundtrip_tool_turn.jsonl": ([("pair", "left", NOON, "Noon.", "Night.")], 1, 0),
}
EXPORT = "open-webui/open-webui-0.12.4-feedback-history-export.json"
CHATS = "open-webui/open-webui-0.12.4-chat-export.json"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty store; both databases are tried with the formats' own tests."""
    opened = open_store(tmp_path / "home")
    yield opened
    opened.close()


def told(store: Store) -> list[tuple[Any, ...]]:
    with store.session(reading=True) as session:
        return [(each.kind, each.value, each.messages, each.text, each.other_text) for each in opinions(session, KINDS)]


def in_order(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(json.dumps(row) for row in rows)


def put(folder: Path, rows: list[Any]) -> Path:
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


@pytest.mark.parametrize("name", CASES)
def test_a_case_leaves_what_it_says(store: Store, shared: Path, name: str) -> None:
    said, imported, skipped = CASES[name]
    report = import_file(store, shared / "cases" / name)
    assert in_order(told(store)) == in_order(said)
    assert (report.imported, report.skipped) == (imported, skipped)
    assert sum(report.reasons.values()) == skipped == len(report.problems)
    again = import_file(store, shared / "cases" / name)
    assert (again.imported, again.duplicates, again.skipped) == (0, imported, skipped)


def test_a_failed_answer_leaves_its_question(store: Store, shared: Path) -> None:
    import_file(store, shared / "cases/librechat_error_answer.json")
    with store.session(reading=True) as session:
        assert [each.messages for each in asked(session)] == [FRUIT]


@pytest.mark.parametrize("name", ["update_tool_turn.jsonl", "update_long_system.jsonl"])
def test_rows_for_another_room_come_in(store: Store, shared: Path, name: str) -> None:
    assert import_file(store, shared / "cases" / name).imported == 61


def test_every_rating_of_open_webui_comes_in(store: Store, shared: Path) -> None:
    rows = json.loads((shared / "cases" / EXPORT).read_text(encoding="utf-8"))
    report = import_file(store, shared / "cases" / EXPORT)
    assert (report.imported, report.skipped) == (20, 2)  # two answers failed
    wanted: Counter[str] = Counter()
    for row in rows:
        data = row["data"]
        message = row["snapshot"]["chat"]["chat"]["history"]["messages"][row["meta"]["message_id"]]
        if message.get("error"):
            continue
        tags = [each for each in [data["reason"], *data["tags"]] if each]
        score = (data["details"] or {}).get("rating")
        for kind, value in (("thumb", data["rating"]), ("score", score), ("tags", tags), ("comment", data["comment"])):
            if value:
                wanted[json.dumps([kind, value, message["content"]])] += 1
    rows_told = told(store)
    assert Counter(json.dumps([each[0], each[1], each[3]]) for each in rows_told if each[0] != "pair") == wanted
    pairs = [(each[3][-20:], each[4][-20:]) for each in rows_told if each[0] == "pair"]
    assert len(pairs) == 2  # two equal answers with opposite thumbs are none
    after = next(each[2] for each in rows_told if each[1] == "after the failure")
    assert [each["content"] for each in after][1:] == ["far.", "What is 10 plus 9?", "What is 11 plus 9?"]
    again = import_file(store, shared / "cases" / CHATS)
    assert in_order([each for each in told(store) if each[0] == "pair"]) == in_order(
        [each for each in rows_told if each[0] == "pair"]
    )
    assert again.format == "open-webui-chats"
    with store.session(reading=True) as session:
        assert len({each.person for each in opinions(session, KINDS)}) == 1


def test_people_of_a_file_stay_apart(store: Store, tmp_path: Path) -> None:
    up, down = (samples.open_webui_feedback(id, {"rating": sign}) for id, sign in (("a2", 1), ("b2", -1)))
    import_file(store, put(tmp_path, [up, down | {"user_id": "somebody else"}]))
    with store.session(reading=True) as session:
        found = list(opinions(session, KINDS))
    assert [each.kind for each in found] == ["thumb", "thumb"]
    assert len({each.person for each in found}) == 2
    assert all(each.person.startswith("import:") and "somebody" not in each.person for each in found)


def test_tags_that_nobody_chose_are_dropped(store: Store, tmp_path: Path) -> None:
    guessed = samples.open_webui_feedback("a2", {"rating": 1, "tags": ["Science"]})
    import_file(store, put(tmp_path, [guessed]))
    assert [each[0] for each in told(store)] == ["thumb"]


@pytest.mark.parametrize("column", ["preference", "response_2", "winner_model_a", "user_rating", "persona", "dialog"])
@pytest.mark.parametrize("name", list(samples.ROWS))
def test_no_column_that_looks_like_an_answer_is_passed_over(
    store: Store, tmp_path: Path, name: str, column: str
) -> None:
    if (name, column) == ("argilla", "response_2"):
        return  # a second answer there, which is read
    rows = [row | {column: "A"} for row in samples.ROWS[name]]
    with pytest.raises(Problem) as caught:
        import_file(store, put(tmp_path, rows))
    assert column in str(caught.value) or "no known format" in str(caught.value)
    assert told(store) == []
    if name not in ("argilla",) and "no known format" not in str(caught.value):
        named: ImportReport = import_file(store, put(tmp_path, rows), format=name.removesuffix(" cleaned"))
        assert named.imported + named.skipped + named.duplicates == len(rows)


def test_columns_about_a_column_are_none() -> None:
    assert unknown({"chosen_model": "m", "response_tokens": 3, "source": "x", "score": None, "answers": []}, ()) == []
    assert unknown({"bestAnswerId": 1, "label": 0, "turns": [turn("user", "x")]}, ()) == [
        "bestAnswerId",
        "label",
        "turns",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<think>why</think>\nApple.", "Apple."),
        ("<Thinking>\nwhy\n</Thinking>Apple.", "Apple."),
        ("why\n</think>\n\nApple.", "Apple."),
        ("[THINK]why[/THINK]Apple.", "Apple."),
        ("<think>stopped in the middle", ""),
        (":::thinking\nwhy\n:::\n\nApple.", "Apple."),
        ('<details type="reasoning" done="true"><summary>x</summary>&gt; y</details>Apple.', "Apple."),
        ('Wait.\n<details type="tool_calls" name="x">\ny\n</details>\n<think>z</think>\nApple.', "Wait.\n\nApple."),
        ("<tool_call>\n{}\n</tool_call>", ""),
        (
            "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>Apple.<|return|>",
            "Apple.",
        ),
        ("analysisThey ask.assistantfinalApple.", "Apple."),
        ("**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**", ""),
        ("Write:\n```\n<think>x</think>\n```\nDone.", "Write:\n```\n<think>x</think>\n```\nDone."),
        ("The mark `<think>` opens it, </think> closes it.", "The mark `<think>` opens it, </think> closes it."),
        ("<details><summary>More</summary>x</details>", "<details><summary>More</summary>x</details>"),
        ("Text.\n    <think>\n    </think>", "Text.\n    <think>\n    </think>"),
        (" Apple.\n", " Apple.\n"),
    ],
)
def test_an_answer_is_what_was_said(text: str, words: str) -> None:
    assert spoken(text) == words


@pytest.mark.parametrize("mark", ["<think>\n", "<details \n", "```\n", "</think>\n", "<details type='reasoning'", "`a"])
def test_long_texts_of_marks_take_no_longer_than_their_length(mark: str) -> None:
    # Quadratic time on these two million characters would be hours.
    assert len(spoken("x\n" + mark * (2_000_000 // len(mark)))) <= 2_000_002


@pytest.mark.parametrize(
    "prompt",
    [
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Yes? </s><s>[INST] Why? [/INST]",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user"
        "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nYes?</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n",
    ],
)
def test_a_template_in_a_text_is_read_into_turns(store: Store, tmp_path: Path, prompt: str) -> None:
    import_file(store, put(tmp_path, [{"prompt": prompt, "chosen": "Because.</s>", "rejected": "No."}]))
    turns = [turn("system", "Be kind."), turn("user", "Hi"), turn("assistant", "Yes?"), turn("user", "Why?")]
    assert told(store) == [("pair", "left", turns, "Because.", "No.")]


def test_turns_within_a_turn_are_skipped(store: Store, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q", "chosen": "A<|im_end|>\n<|im_start|>user\nR<|im_end|>", "rejected": "B"},
        {"prompt": "What does `<|im_start|>user` mean?", "chosen": "A", "rejected": "B"},
    ]
    report = import_file(store, put(tmp_path, rows))
    assert (report.imported, report.reasons) == (1, {"a turn holds turns of its own, in the markup of ChatML": 1})


@pytest.mark.parametrize("name", samples.NAMES)
def test_an_export_adds_nothing_when_it_is_read_back(store: Store, tmp_path: Path, name: str) -> None:
    import_file(store, samples.write(tmp_path, name))
    tools = {"prompt": NOON, "chosen": [turn("assistant", "Noon.")], "rejected": [turn("assistant", "Night.")]}
    import_file(store, put(tmp_path, [tools]))
    before = in_order(told(store))
    for form in ("preference", "unpaired", "prompt"):
        written = export(store, tmp_path / f"{form}.jsonl", form, scrub=False)
        for file in (written.path, written.twin):
            if file is not None and written.rows:
                report = import_file(store, file)
                assert (report.imported, report.duplicates, report.skipped) == (0, written.rows, 0), (form, file)
    assert in_order(told(store)) == before
