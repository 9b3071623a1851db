"""One small file of each format, made up here in the shape that its program writes; and what it says."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def message(id: str, parent: str | None, role: str, content: str, **more: Any) -> dict[str, Any]:
    """A message of Open WebUI."""
    return {"id": id, "parentId": parent, "childrenIds": [], "role": role, "content": content, "timestamp": 1} | more


def open_webui_chat(**annotations: dict[str, Any]) -> dict[str, Any]:
    """Two turns, the second answer given twice: a2 and its sibling b2."""
    turns = [
        message("q1", None, "user", "Hello?", models=["m"]),
        message("a1", "q1", "assistant", "Hi.", model="m"),
        message("q2", "a1", "user", "Why is the sky blue?", models=["m"]),
        message("a2", "q2", "assistant", "Scattering.", model="m"),
        message("b2", "q2", "assistant", "No idea.", model="n"),
    ]
    for each in turns:
        if each["id"] in annotations:
            each["annotation"] = annotations[each["id"]]
    history = {"currentId": "b2", "messages": {each["id"]: each for each in turns}}
    return {"id": "chat", "title": "Sky", "models": ["m"], "params": {}, "history": history, "messages": turns[:4]}


def open_webui_feedback(
    id: str, data: dict[str, Any], chat: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "id": f"feedback of {id}",
        "user_id": "u",
        "version": 0,
        "type": "rating",
        "data": {"model_id": "m", "sibling_model_ids": None, "reason": None, "comment": None, "tags": []} | data,
        "meta": {
            "arena": False,
            "model_id": "m",
            "message_id": id,
            "message_index": 4,
            "chat_id": "c",
            "tags": ["sky"],
        },
        "snapshot": {"chat": {"id": "c", "title": "Sky", "chat": chat or open_webui_chat()}},
        "created_at": 1760000000,
        "updated_at": 4102444800,
    } | more


def libre(id: str, parent: str | None, user: bool, text: str, **more: Any) -> dict[str, Any]:
    return {"messageId": id, "parentMessageId": parent, "isCreatedByUser": user, "text": text, "sender": "?"} | more


NOBODY = "00000000-0000-0000-0000-000000000000"
LIBRECHAT = {
    "conversationId": "c",
    "endpoint": "openAI",
    "title": "Sky",
    "options": {"model": "m", "promptPrefix": "Be short."},
    "recursive": False,
    "messages": [
        libre("q1", NOBODY, True, "Hello?"),
        libre("a1", "q1", False, "Hi.", feedback={"rating": "thumbsUp", "tag": "creative_solution", "text": "nice"}),
        libre("q2", "a1", True, "Why?"),
        libre(
            "a2",
            "q2",
            False,
            "",
            content=[{"type": "think", "think": "hm"}, {"type": "text", "text": {"value": "Because."}}],
            feedback={"rating": "thumbsDown", "tag": {"key": "not_helpful"}},
        ),
    ],
}
CHAT_UI = {
    "title": "Sky",
    "model": "m",
    "rootMessageId": "r",
    "messages": [
        {"id": "r", "from": "system", "content": "", "ancestors": [], "children": ["q"]},
        {"id": "q", "from": "user", "content": "Why?", "ancestors": ["r"], "children": ["a", "b"]},
        {"id": "a", "from": "assistant", "content": "Yes.", "score": -1, "ancestors": ["r", "q"], "children": []},
        {"id": "b", "from": "assistant", "content": "Because.", "score": 1, "ancestors": ["r", "q"], "children": []},
    ],
}


def state(*texts: str | None) -> dict[str, Any]:
    roles = ("USER", "ASSISTANT")
    messages = [[roles[place % 2], text] for place, text in enumerate(texts)]
    return {"template_name": "t", "system_message": "", "roles": roles, "messages": messages, "offset": 0}


def vote(kind: str, *states: dict[str, Any]) -> dict[str, Any]:
    one = {"models": ["m", "n"], "states": states} if len(states) == 2 else {"model": "m", "state": states[0]}
    return {"tstamp": 1.5, "type": kind, "ip": "127.0.0.1"} | one


def cleaned(winner: str, right: str = "No.") -> dict[str, Any]:
    question = turn("user", "Why?")
    return {
        "question_id": "q",
        "model_a": "m",
        "model_b": "n",
        "winner": winner,
        "judge": "arena_user_1",
        "conversation_a": [question, turn("assistant", "Because.")],
        "conversation_b": [question, turn("assistant", right)],
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": 1.5,
    }


def feel(*answers: dict[str, Any]) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    for place, each in enumerate(answers):
        turns.append(turn("user", f"Q{place}") | {"rating": 0, "chosen": "", "rejected": ""})
        turns.append({"role": "assistant", "rating": 0, "chosen": "", "rejected": ""} | each)
    return {
        "conversation": turns,
        "timestamp": "2025-01-01T10:00:00",
        "session_id": "s",
        "conversation_id": "c",
        "language": "English",
    }


ARGILLA = {
    "id": "1",
    "status": "completed",
    "prompt": "Why?",
    "response": "Because.",
    "quality.responses": [7, 2, 9],
    "quality.responses.users": ["u", "v", "w"],
    "quality.responses.status": ["submitted", "draft", "discarded"],
    "quality.suggestion": 1,
    "issues.responses": [["short"]],
    "issues.responses.users": ["u"],
    "issues.responses.status": ["submitted"],
    "comment.responses": ["Say more."],
    "comment.responses.users": ["u"],
    "comment.responses.status": ["submitted"],
    "corrected.responses": ["Because of scattering."],
    "corrected.responses.users": ["u"],
    "corrected.responses.status": ["submitted"],
}


def openai_log(*answers: str, **request: Any) -> dict[str, Any]:
    choices = [{"index": place, "message": turn("assistant", text)} for place, text in enumerate(answers)]
    messages = [turn("developer", "Be short."), {"role": "user", "content": [{"type": "text", "text": "Why?"}]}]
    return {
        "timestamp": 1.5,
        "workload_id": "w",
        "client_id": "c",
        "request": {"model": "m", "messages": messages} | request,
        "response": {"id": "r", "object": "chat.completion", "choices": choices},
    }


def pykoi(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE question_answer (
            id INTEGER PRIMARY KEY, question TEXT, answer TEXT, vote_status TEXT, timestamp TEXT);
        CREATE TABLE ranking (id INTEGER PRIMARY KEY, question TEXT, up_ranking_answer TEXT, low_ranking_answer TEXT);
        CREATE TABLE other (id INTEGER PRIMARY KEY, words TEXT);
        INSERT INTO other VALUES (1, 'x');
        INSERT INTO question_answer VALUES (1, 'Why?', 'Because.', 'up', ''), (2, 'Why?', 'No.', 'down', ''),
            (3, 'Why?', 'Hm.', 'n/a', '');
        INSERT INTO ranking VALUES (1, 'Why?', 'Because.', 'No.');
        """
    )
    connection.commit()
    connection.close()


def gradio(path: Path, *flags: tuple[int, str]) -> None:
    said = [
        turn("user", "Why?"),
        turn("assistant", 'Because,\nof "it".'),
        turn("user", "So?"),
        turn("assistant", "So."),
    ]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["conversation", "index", "value", "flag", "timestamp"])
    for index, flag in flags:
        writer.writerow([json.dumps(said), index, flag, "2026-01-01 10:00:00"])
    path.write_text(file.getvalue(), encoding="utf-8", newline="")


UP = {"rating": 1, "reason": "accurate_information", "comment": "Right.", "tags": ["physics"], "details": {"rating": 9}}
DOWN = {"rating": "-1", "details": {"rating": 9}}

ROWS: dict[str, list[dict[str, Any]]] = {
    "trl-preference": [{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}],
    "trl-unpaired": [{"prompt": "Why?", "completion": "Because.", "label": True}],
    "trl-prompt": [{"prompt": "Why?"}, {"prompt": [turn("system", "Be short."), turn("user", "How?")]}],
    "hh-rlhf": [
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant: Because.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant: No.",
        }
    ],
    "sharegpt": [
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "Because."},
            "rejected": {"from": "gpt", "value": "No."},
        }
    ],
    "alpaca": [{"instruction": "Why?", "input": "", "chosen": "Because.", "rejected": "No."}],
    "kto": [
        {"messages": [turn("user", "Why?"), turn("assistant", "Because.")], "label": True},
        {
            "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "No."}],
            "kto_tag": False,
        },
        {"instruction": "Add.", "input": "1 + 1", "output": "2", "kto_tag": True},
    ],
    "open-webui-feedback": [open_webui_feedback("a2", UP), open_webui_feedback("b2", DOWN)],
    "open-webui-chats": [{"id": "c", "user_id": "u", "title": "Sky", "chat": open_webui_chat(a2=UP, b2=DOWN)}],
    "librechat": [LIBRECHAT],
    "chat-ui": [CHAT_UI],
    "fastchat": [
        vote("chat", state("Why?", "Because."), state("Why?", "No.")),
        vote("leftvote", state("Why?", "Because."), state("Why?", "No.")),
        vote("rightvote", state("Why?", "No."), state("Why?", "Because.")),
        vote("tievote", state("Why?", "Because."), state("Why?", "No.")),
        vote("bothbad_vote", state("Why?", "Hm."), state("Why?", "No.")),
        vote("upvote", state("Why?", "Because.")),
        vote("downvote", state("Why?", "No.")),
        vote("flag", state("Why?", "No.")),
    ],
    "fastchat cleaned": [cleaned(winner) for winner in ("model_a", "model_b", "tie", "tie (bothbad)")],
    "argilla": [ARGILLA],
    "feel": [
        feel(
            {"content": "good", "rating": 1, "chosen": "good"},
            {"content": "bad", "rating": -1, "rejected": "bad"},
            {"content": "mine", "rating": 1, "chosen": "mine", "rejected": "yours"},
        )
    ],
    "openai-logs": [openai_log("Because.", "For reasons."), openai_log()],
}


def write(folder: Path, name: str) -> Path:
    """The file of that format, as its program names it."""
    if name == "pykoi":
        pykoi(folder / "qd.db")
        return folder / "qd.db"
    if name == "gradio":
        gradio(folder / "log.csv", (1, "Like"), (3, "Dislike"), (3, "Off topic"))
        return folder / "log.csv"
    file = folder / f"{name}.json"
    rows = ROWS[name]
    if name in ("open-webui-feedback", "open-webui-chats", "chat-ui"):
        file.write_text(json.dumps(rows))
    elif name == "librechat":
        file.write_text(json.dumps(rows[0], indent=4))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


NAMES = (*ROWS, "pykoi", "gradio")
